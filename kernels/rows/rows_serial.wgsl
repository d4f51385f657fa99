// One invocation per row, without barriers. For software adapters, where a barrier costs more than a row, and for
// strided rows, where adjacent invocations then read adjacent elements.
const GROUP = 8u; // invocations in a workgroup
const LANES = 1u; // invocations in a row

fn rowOf(group: u32, local: u32) -> u32 {
  return group * GROUP + local;
}

fn laneOf(local: u32) -> u32 {
  return 0u;
}

/** Orders the reads and writes of storage by the lanes of a row. */
fn storageBarrierOfLanes() {}

fn sumOfLanes(value: f32, lane: u32) -> f32 {
  return value;
}

fn maxOfLanes(value: f32, lane: u32) -> f32 {
  return value;
}
