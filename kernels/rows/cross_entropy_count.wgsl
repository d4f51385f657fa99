// scale = 1 / (number of targets that are not ignored), NaN when there are none

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  if (rowOf(group.x, local) > 0u) {
    return;
  }
  let lane = laneOf(local);
  var count = 0.0;
  for (var row = lane; row < params.rows; row += LANES) {
    count += select(1.0, 0.0, i32(targets[row]) == params.ignore_index);
  }
  let all = sumOfLanes(count, lane);
  if (lane == 0u) {
    scale[0] = nanIf(1.0 / max(all, 1.0), all < 0.5);
  }
}
