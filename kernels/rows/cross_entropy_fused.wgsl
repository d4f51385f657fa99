// The loss of each row; the logits are overwritten by their gradient times scale (Hsu et al., Liger Kernel, 2024).
// One pass for the loss, a second for the gradient.

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
  let chosen = i32(targets[row]);
  let ignored = chosen == params.ignore_index;
  let known = chosen >= 0 && u32(chosen) < params.known;
  let column = select(0u, u32(chosen), known);
  // Read before any lane writes.
  let x = vec4<f32>(F(logits[first + column / WIDTH]))[column % WIDTH];

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
  let denominator = sumOfLanes(total(sum * exp(top - shift)), lane);
  let mean = sumOfLanes(total(all), lane) / f32(params.classes);
  if (lane == 0u) {
    let rest = log(denominator);
    var value = rest - (x - shift);
    if (params.smoothing > 0.0) {
      value = (1.0 - params.smoothing) * value + params.smoothing * (rest - (mean - shift));
    }
    loss[row] = select(nanIf(value, !known), 0.0, ignored);
  }
  storageBarrierOfLanes();

  let factor = scale[0];
  let share = 1.0 / denominator;
  let hot = 1.0 - params.smoothing;
  let spread = params.smoothing / f32(params.classes);
  for (var i = lane; i < units; i += LANES) {
    let p = exp(F(logits[first + i]) - shift) * share;
    let d = (p - spread - oneHot(i, column) * hot) * factor;
    logits[first + i] = LOGITS(select(nansIf(d, !known), F(0.0), ignored));
  }
}
