// One AdamW update, elementwise: decay, moving averages, step
const PER_INVOCATION = 1u; // vectors that an invocation updates

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
  let step = params.lr / correction[0];
  let root = inverseSqrt(correction[1]);
  let decay = params.lr * params.weight_decay;
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i * WIDTH >= params.count) {
      return;
    }
    let gradient = F(g[i]) * scale;
    let mean = params.beta1 * m[i] + params.rest1 * gradient;
    let square = params.beta2 * v[i] + params.rest2 * gradient * gradient;
    let old = p[i];
    let next = old - decay * old - step * mean / (sqrt(square) * root + params.eps);
    m[i] = mean;
    v[i] = square;
    p[i] = next;
    if (HAS_COPY) {
      copy[i] = COPY(next);
    }
  }
}
