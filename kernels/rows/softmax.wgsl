// y = exp(x - max) / sum(exp(x - max)) along an axis, or its logarithm, in two passes over x (Milakov and Gimelshein, 2018)
const LOG = false;

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOf(group.x + group.y * groups.x, local);
  if (row >= params.outer * params.inner) {
    return;
  }
  let lane = laneOf(local);
  let stride = params.inner;
  let first = (row / stride) * (params.columns / WIDTH) * stride + row % stride;
  let end = first + (params.columns / WIDTH) * stride;

  var top = F(LOWEST);
  var sum = F(0.0);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    let v = F(x[i]);
    let higher = max(top, v);
    sum = sum * exp(top - higher) + exp(v - higher);
    top = higher;
  }
  let shift = maxOfLanes(largest(top), lane);
  let rowSum = sumOfLanes(total(sum * exp(top - shift)), lane);
  let scale = 1.0 / rowSum;
  let logSum = log(rowSum);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    let v = F(x[i]) - shift;
    if (LOG) {
      // Two subtractions: shift + logSum would round logSum away for a large shift.
      y[i] = Y(nansIf(v - logSum, rowSum == 0.0)); // a row of only -Infinity; log(0) need not be -Infinity
    } else {
      y[i] = Y(exp(v) * scale);
    }
  }
}
