// y *= scale, for a number on the device; nothing is touched when it is 1

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
