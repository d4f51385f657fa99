// y += a * x
const PER_INVOCATION = 1u;

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
    y[i] = Y(F(y[i]) + params.a * F(x[i]));
  }
}
