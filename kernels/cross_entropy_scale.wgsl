// y *= scale, for a number on the device; nothing is touched when it is 1
alias Y = f32;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> scale: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<Y>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let factor = scale[0];
  if (factor == 1.0) {
    return;
  }
  let all = groups.x * groups.y * 64u;
  for (var i = (group.x + group.y * groups.x) * 64u + local; i < params.count / WIDTH; i += all) {
    y[i] = Y(F(y[i]) * factor);
  }
}
