// y = (x - mean) / sqrt(variance + eps) * weight + bias for each row; the variance has a pass of its own (Ba et al.,
// 2016). Keeps mean and rstd = 1 / sqrt(variance + eps).

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
  let each = 1.0 / f32(params.columns);

  var sum = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    sum += F(x[first + i]);
  }
  let center = sumOfLanes(total(sum), lane) * each;
  var squares = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    let d = F(x[first + i]) - center;
    squares += d * d;
  }
  let scale = inverseSqrt(sumOfLanes(total(squares), lane) * each + params.eps);
  for (var i = lane; i < units; i += LANES) {
    var v = (F(x[first + i]) - center) * scale;
    if (HAS_WEIGHT) {
      v *= F(weight[i]);
    }
    if (HAS_BIAS) {
      v += F(bias[i]);
    }
    y[first + i] = Y(v);
  }
  if (HAS_MEAN && lane == 0u) {
    mean[row] = center;
    rstd[row] = scale;
  }
}
