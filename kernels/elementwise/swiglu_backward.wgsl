// d_gate = d_out * up * silu'(gate); d_up = d_out * silu(gate)

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count) {
    return;
  }
  let d = f32(d_out[i]);
  let g = f32(gate[i]);
  let s = 1.0 / (1.0 + exp(-g));
  d_gate[i] = D_GATE(d * f32(up[i]) * s * (1.0 + g * (1.0 - s)));
  d_up[i] = D_UP(d * g * s);
}
