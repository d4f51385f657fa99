// dGate = dy * up * silu'(gate); dUp = dy * silu(gate)
alias T = f32;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<T>;
@group(0) @binding(1) var<storage, read> gate: array<T>;
@group(0) @binding(2) var<storage, read> up: array<T>;
@group(0) @binding(3) var<storage, read_write> dGate: array<T>;
@group(0) @binding(4) var<storage, read_write> dUp: array<T>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count) {
    return;
  }
  let d = f32(dy[i]);
  let g = f32(gate[i]);
  let s = 1.0 / (1.0 + exp(-g));
  dGate[i] = T(d * f32(up[i]) * s * (1.0 + g * (1.0 - s)));
  dUp[i] = T(d * g * s);
}
