// One invocation a row: nothing to wait for. For software adapters, where a barrier costs more than a row,
// and for rows whose elements lie apart, where neighbouring invocations then read neighbouring elements.
const GROUP = 8u; // invocations in a workgroup
const LANES = 1u; // invocations in a row

fn rowOf(group: u32, local: u32) -> u32 {
  return group * GROUP + local;
}

fn laneOf(local: u32) -> u32 {
  return 0u;
}

/** Orders what the lanes of a row read and write of storage. */
fn storageBarrierOfLanes() {}

fn sumOfLanes(value: f32, lane: u32) -> f32 {
  return value;
}

fn maxOfLanes(value: f32, lane: u32) -> f32 {
  return value;
}
