// Rotates the pairs (a, b) of each head by the angles of its position: (a cos - b sin, a sin + b cos) (Su et al.,
// 2021). One invocation per pair. `turns` holds cosines and sines alternately.
const HALF_SPLIT = false; // pairs (i, i + R/2) instead of (2i, 2i + 1), where R elements are rotated

// The position of a row of x; past the table if its sequence begins outside it.
fn position_of(row: u32) -> u32 {
  let step = row / params.heads;
  let sequence = step / params.length;
  let first = select(params.position, u32(positions[sequence]), HAS_POSITIONS);
  return min(first, params.table_rows) + step - sequence * params.length;
}

// The result, or NaN at a position outside the table; set by bits, since a driver may assume that no float is NaN.
fn at_position(value: f32, position: u32) -> f32 {
  return bitcast<f32>(select(0x7fc00000u, bitcast<u32>(value), position < params.table_rows));
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let pairs = params.width / 2u;
  let i = id.x + id.y * groups.x * 64u;
  let row = i / pairs;
  let pair = i % pairs;
  if (row >= params.rows) {
    return;
  }
  let position = position_of(params.first_row + row);
  if (pair >= params.turned / 2u) { // not rotated
    let at = row * params.width + 2u * pair;
    y[at] = Y(x[at]);
    y[at + 1u] = Y(x[at + 1u]);
    return;
  }
  let c = turns[position * params.width + 2u * pair];
  let s = turns[position * params.width + 2u * pair + 1u] * params.direction;
  let at = row * params.width + select(2u * pair, pair, HALF_SPLIT);
  let next = at + select(1u, params.turned / 2u, HALF_SPLIT);
  let a = f32(x[at]);
  let b = f32(x[next]);
  y[at] = Y(at_position(a * c - b * s, position));
  y[next] = Y(at_position(a * s + b * c, position));
}
