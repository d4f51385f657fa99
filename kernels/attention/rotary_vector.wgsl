// As `rotary.wgsl`, for pairs in whole vectors: an invocation rotates two adjacent pairs, or four pairs whose halves
// are in two vectors.
const HALF_SPLIT = false;

// The position of a row of x; past the table if its sequence begins outside it.
fn position_of(row: u32) -> u32 {
  let step = row / params.heads;
  let sequence = step / params.length;
  let first = select(params.position, u32(positions[sequence]), HAS_POSITIONS);
  return min(first, params.table_rows) + step - sequence * params.length;
}

// The results, or NaN at a position outside the table; set by bits, since a driver may assume that no float is NaN.
fn at_position(value: vec4f, position: u32) -> vec4f {
  let nan = vec4u(0x7fc00000u);
  return bitcast<vec4f>(select(nan, bitcast<vec4u>(value), position < params.table_rows));
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let units = params.width / 4u; // vectors in a row
  let steps = select(units, units / 2u, HALF_SPLIT); // invocations per row
  let i = id.x + id.y * groups.x * 64u;
  let row = i / steps;
  let step = i % steps;
  if (row >= params.rows) {
    return;
  }
  let position = position_of(params.first_row + row);
  let turned = params.turned / 4u; // those of them that are rotated
  let apart = turned / 2u;
  if (step >= select(turned, apart, HALF_SPLIT)) { // not rotated
    let first = row * units + select(step, 2u * step, HALF_SPLIT);
    y[first] = Y(x[first]);
    if (HALF_SPLIT) {
      y[first + 1u] = Y(x[first + 1u]);
    }
    return;
  }
  let at = row * units + step;
  if (HALF_SPLIT) {
    let t = turns[position * units + 2u * step];
    let u = turns[position * units + 2u * step + 1u];
    let c = vec4<f32>(t.xz, u.xz);
    let s = vec4<f32>(t.yw, u.yw) * params.direction;
    let a = vec4<f32>(x[at]);
    let b = vec4<f32>(x[at + apart]);
    y[at] = Y(at_position(a * c - b * s, position));
    y[at + apart] = Y(at_position(a * s + b * c, position));
  } else {
    let t = turns[position * units + step];
    let v = vec4<f32>(x[at]);
    let turned = vec4<f32>(-v.y, v.x, -v.w, v.z) * params.direction;
    y[at] = Y(at_position(v * t.xxzz + turned * t.yyww, position));
  }
}
