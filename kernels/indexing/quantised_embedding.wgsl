// y[r] = row ids[r] of a quantised table. One invocation per 4 elements (see quantised.wgsl for `dequantised`).
@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  let columns = params.columns / 4u;
  if (i >= params.rows * columns) {
    return;
  }
  let token = u32(ids[i / columns]);
  var value = dequantised((min(token, params.vocabulary - 1u) * columns + i % columns) * 4u);
  if (token >= params.vocabulary) {
    // NaN by its bits, since a driver may fold a computed one; a constant one would not compile.
    value = vec4f(bitcast<f32>(0x7fc00000u | min(params.rows, 1u)));
  }
  y[i] = value;
}
