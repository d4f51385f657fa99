// y += a * x
alias T = f32; // of y
alias X = f32; // of x

struct Params {
  count: u32,
  a: f32,
}

@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i < params.count) {
    y[i] = T(f32(y[i]) + params.a * f32(x[i]));
  }
}
