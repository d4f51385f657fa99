// A workgroup a row; its invocations take every LANES-th element and add up over workgroup memory.
const GROUP = 256u; // invocations in a workgroup, a power of two
const LANES = GROUP; // invocations in a row

var<workgroup> lanes: array<f32, GROUP>;

fn rowOf(group: u32, local: u32) -> u32 {
  return group;
}

fn laneOf(local: u32) -> u32 {
  return local;
}

/** Orders what the lanes of a row read and write of storage. */
fn storageBarrierOfLanes() {
  storageBarrier();
}

/** The sum of the lanes' values, in every lane. */
fn sumOfLanes(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // the last result was read
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
