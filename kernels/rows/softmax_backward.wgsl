// d_x = y * (d_out - sum(d_out * y)) along an axis for the softmax y, or d_x = d_out - exp(y) * sum(d_out) for the
// log-softmax y
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

  var sums = F(0.0);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    if (LOG) {
      sums += F(d_out[i]);
    } else {
      sums += F(d_out[i]) * F(y[i]);
    }
  }
  let sum = sumOfLanes(total(sums), lane);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    if (LOG) {
      d_x[i] = D_X(F(d_out[i]) - exp(F(y[i])) * sum);
    } else {
      d_x[i] = D_X(F(y[i]) * (F(d_out[i]) - sum));
    }
  }
}
