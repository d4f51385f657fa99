// mean = scale * sum(loss)

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  if (rowOf(group.x, local) > 0u) {
    return;
  }
  let lane = laneOf(local);
  // Runs of 64 are summed first, so that a long sum stays accurate.
  var sum = 0.0;
  for (var start = lane; start < params.rows; start += 64u * LANES) {
    var part = 0.0;
    let end = min(start + 64u * LANES, params.rows);
    for (var row = start; row < end; row += LANES) {
      part += loss[row];
    }
    sum += part;
  }
  let all = sumOfLanes(sum, lane);
  if (lane == 0u) {
    mean[0] = all * scale[0];
  }
}
