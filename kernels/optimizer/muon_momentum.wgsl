// The moving average of gradients, and the direction to be orthogonalised
const PER_INVOCATION = 1u; // vectors that an invocation updates
const NESTEROV = true;

@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let scale = grad_scale[0];
  let refused = scale == 0.0; // the gradient is not finite
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i * WIDTH >= params.count) {
      return;
    }
    if (refused) {
      x[i] = F(0.0);
      continue;
    }
    let gradient = params.rest * (F(g[i]) * scale);
    let mean = params.beta * momentum[i] + gradient;
    momentum[i] = mean;
    if (NESTEROV) {
      x[i] = params.beta * mean + gradient;
    } else {
      x[i] = mean;
    }
  }
}
