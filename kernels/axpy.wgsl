// y += a * x
alias Y = f32; // one or four elements of y
alias X = f32; // as many of x
alias V = f32; // as many in f32
const WIDTH = 1u; // elements of these types
const PER_INVOCATION = 1u;

struct Params {
  count: u32,
  a: f32,
}

@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read_write> y: array<Y>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i >= params.count / WIDTH) {
      return;
    }
    y[i] = Y(V(y[i]) + params.a * V(x[i]));
  }
}
