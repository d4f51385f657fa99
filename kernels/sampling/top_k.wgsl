// The k largest elements of each row, in order. One workgroup per row. Each round finds the largest element after the
// previous one: smaller, or equal and further right. NaN comes before all.
const WORKGROUP = 64u;

const NONE = 0xffffffffu;
var<workgroup> keys: array<u32, WORKGROUP>;
var<workgroup> places: array<u32, WORKGROUP>;

// An integer with the order of the values: the bits of a float, inverted below 0.
fn key(value: VALUES) -> u32 {
  let bits = bitcast<u32>(f32(value));
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return 0xffffffffu;
  }
  // -0 and 0 are equal.
  if (bits == 0x80000000u) {
    return 0x80000000u;
  }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn before(key: u32, place: u32, other_key: u32, other_place: u32) -> bool {
  if (place == NONE || other_place == NONE) {
    return place != NONE;
  }
  return key > other_key || (key == other_key && place < other_place);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) {
    return;
  }
  let first = row * params.columns;
  var last_key = 0u;
  var last_place = NONE;
  if (params.first > 0u) {
    last_place = u32(indices[row * params.k + params.first - 1u]);
    last_key = key(x[first + last_place]);
  }
  for (var round = params.first; round < params.end; round++) {
    var best_key = 0u;
    var best = NONE;
    for (var c = lane; c < params.columns; c += WORKGROUP) {
      let own = key(x[first + c]);
      let left = last_place == NONE || before(last_key, last_place, own, c);
      if (left && before(own, c, best_key, best)) {
        best_key = own;
        best = c;
      }
    }
    keys[lane] = best_key;
    places[lane] = best;
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (lane < half) {
        let other = lane + half;
        if (before(keys[other], places[other], keys[lane], places[lane])) {
          keys[lane] = keys[other];
          places[lane] = places[other];
        }
      }
    }
    workgroupBarrier();
    last_key = keys[0];
    last_place = places[0];
    if (lane == 0u) {
      values[row * params.k + round] = x[first + last_place];
      indices[row * params.k + round] = i32(last_place);
    }
    workgroupBarrier();
  }
}
