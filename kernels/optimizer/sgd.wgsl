// One step of gradient descent, elementwise
const PER_INVOCATION = 1u; // vectors that an invocation updates
const NESTEROV = false;

@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let scale = grad_scale[0];
  if (scale == 0.0) {
    return; // the gradient is not finite
  }
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i * WIDTH >= params.count) {
      return;
    }
    let old = p[i];
    var step = F(g[i]) * scale + params.weight_decay * old;
    if (HAS_VELOCITY) {
      let moving = params.momentum * velocity[i] + step;
      velocity[i] = moving;
      if (NESTEROV) {
        step += params.momentum * moving;
      } else {
        step = moving;
      }
    }
    let next = old - params.lr * step;
    p[i] = next;
    if (HAS_COPY) {
      copy[i] = COPY(next);
    }
  }
}
