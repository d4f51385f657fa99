// scale = 1 / (number of targets that are not ignored), NaN when there are none
alias T = i32;

struct Params {
  rows: u32,
  classes: u32,
  ignoreIndex: i32,
}

@group(0) @binding(0) var<storage, read> targets: array<T>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  if (rowOf(group.x, local) > 0u) {
    return;
  }
  let lane = laneOf(local);
  var count = 0.0;
  for (var row = lane; row < params.rows; row += LANES) {
    count += select(1.0, 0.0, i32(targets[row]) == params.ignoreIndex);
  }
  let all = sumOfLanes(count, lane);
  if (lane == 0u) {
    scale[0] = select(1.0 / all, notANumber(), all == 0.0);
  }
}
