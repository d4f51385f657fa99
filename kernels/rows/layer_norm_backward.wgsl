// With g = d_out * weight and h = (x - mean) * rstd: d_x = rstd * (g - mean(g) - h * mean(g * h)).
// Without a mean it is the gradient of the RMS norm: h = x * rstd, d_x = rstd * (g - h * mean(g * h)).

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
  let scale = rstd[row];
  var center = 0.0;
  if (HAS_MEAN) {
    center = mean[row];
  }

  var sum = F(0.0);
  var products = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    var g = F(d_out[first + i]);
    if (HAS_WEIGHT) {
      g *= F(weight[i]);
    }
    sum += g;
    products += g * (F(x[first + i]) - center);
  }
  var a = 0.0;
  if (HAS_MEAN) {
    a = sumOfLanes(total(sum), lane) * each;
  }
  let b = sumOfLanes(total(products), lane) * each * scale;
  for (var i = lane; i < units; i += LANES) {
    var g = F(d_out[first + i]);
    if (HAS_WEIGHT) {
      g *= F(weight[i]);
    }
    var d = (g - a - (F(x[first + i]) - center) * scale * b) * scale;
    if (params.accumulate != 0u) {
      d += F(d_x[first + i]);
    }
    d_x[first + i] = D_X(d);
  }
}
