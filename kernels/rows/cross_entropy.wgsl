// The loss of each row, lse - x[target] with lse = log(sum(exp(x))), in one pass over the logits. With smoothing s it
// is (1 - s) * (lse - x[target]) + s * mean(lse - x).

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOf(group.x + group.y * groups.x, local);
  if (row >= params.rows) {
    return;
  }
  let lane = laneOf(local);
  let units = params.classes / WIDTH;
  let first = row * units;

  var top = F(LOWEST);
  var sum = F(0.0);
  var all = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    let v = F(logits[first + i]);
    let higher = max(top, v);
    sum = sum * exp(top - higher) + exp(v - higher);
    top = higher;
    all += v;
  }
  let shift = maxOfLanes(largest(top), lane);
  let rowSum = sumOfLanes(total(sum * exp(top - shift)), lane);
  let rest = log(rowSum);
  let mean = sumOfLanes(total(all), lane) / f32(params.classes);
  if (lane > 0u) {
    return;
  }
  if (HAS_SUMS) {
    sums[2u * row] = shift;
    sums[2u * row + 1u] = rowSum;
  }
  let chosen = i32(targets[row]);
  if (chosen == params.ignore_index) {
    loss[row] = 0.0;
  } else {
    let known = chosen >= 0 && u32(chosen) < params.known;
    let column = select(0u, u32(chosen), known);
    let x = vec4<f32>(F(logits[first + column / WIDTH]))[column % WIDTH];
    // Subtracts the shift first: next to a large one the logarithm would be rounded away.
    var value = rest - (x - shift);
    if (params.smoothing > 0.0) {
      value = (1.0 - params.smoothing) * value + params.smoothing * (rest - (mean - shift));
    }
    loss[row] = nanIf(value, !known);
  }
}
