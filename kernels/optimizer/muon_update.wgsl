// Weight decay and step, elementwise
const PER_INVOCATION = 1u; // vectors that an invocation updates

@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  if (grad_scale[0] == 0.0) {
    return; // the gradient is not finite
  }
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i * WIDTH >= params.count) {
      return;
    }
    let old = p[i];
    let next = old - (params.decay * old + params.step * x[i]);
    p[i] = next;
    if (HAS_COPY) {
      copy[i] = COPY(next);
    }
  }
}
