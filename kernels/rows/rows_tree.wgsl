// One workgroup per row: each invocation takes every LANES-th element, and a tree in workgroup memory combines them.
const GROUP = 256u; // invocations in a workgroup, a power of two
const LANES = GROUP; // invocations in a row

var<workgroup> lanes: array<f32, GROUP>;

fn rowOf(group: u32, local: u32) -> u32 {
  return group;
}

fn laneOf(local: u32) -> u32 {
  return local;
}

/** Orders the reads and writes of storage by the lanes of a row. */
fn storageBarrierOfLanes() {
  storageBarrier();
}

/** The sum of the lanes' values, in every lane. */
fn sumOfLanes(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // the previous result has been read
  lanes[lane] = value;
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      lanes[lane] += lanes[lane + half];
    }
  }
  workgroupBarrier();
  return lanes[0];
}

/** The largest of the lanes' values, in every lane. */
fn maxOfLanes(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  lanes[lane] = value;
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      lanes[lane] = max(lanes[lane], lanes[lane + half]);
    }
  }
  workgroupBarrier();
  return lanes[0];
}
