// y = scale * x, or y += scale * x, for a scale on the device. Four elements (or vectors) per invocation.

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let factor = scale[0];
  let first = (group.x + group.y * groups.x) * 256u + local;
  for (var i = first; i < min(first + 256u, params.count / WIDTH); i += 64u) {
    var value = factor * F(x[i]);
    if (params.accumulate != 0u) {
      value += F(y[i]);
    }
    y[i] = Y(value);
  }
}
