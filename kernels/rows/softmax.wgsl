// y = exp(x - max) / sum(exp(x - max)) along an axis, in two passes over x (Milakov and Gimelshein, 2018)

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
  let scale = 1.0 / sumOfLanes(total(sum * exp(top - shift)), lane);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    y[i] = Y(exp(F(x[i]) - shift) * scale);
  }
}
