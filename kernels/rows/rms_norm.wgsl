// y = x / sqrt(mean(x^2) + eps) * (weight + offset) for each row (Zhang and Sennrich, 2019). Keeps rstd, the factor.

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
  let units = params.columns / WIDTH;
  let first = row * units;

  var squares = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    let v = F(x[first + i]);
    squares += v * v;
  }
  let meanSquare = sumOfLanes(total(squares), lane) / f32(params.columns);
  let scale = inverseSqrt(meanSquare + params.eps);
  for (var i = lane; i < units; i += LANES) {
    var v = F(x[first + i]) * scale;
    if (HAS_WEIGHT) {
      v *= F(weight[i]) + params.offset;
    }
    y[first + i] = Y(v);
  }
  if (HAS_RSTD && lane == 0u) {
    rstd[row] = scale;
  }
}
