// As `rotary.wgsl`, where pairs lie in whole vectors: one invocation turns two neighbouring pairs, or four
// pairs whose halves lie apart.
const HALF_SPLIT = false;

// The position of a row of x; past the table where its sequence begins outside.
fn position_of(row: u32) -> u32 {
  let step = row / params.heads;
  let sequence = step / params.length;
  let start = select(params.start, u32(starts[sequence]), HAS_STARTS);
  return min(start, params.positions) + step - sequence * params.length;
}

// The direction, or NaN at a position outside the table.
fn direction_at(position: u32) -> f32 {
  var nan = 0x7fc00000u;
  return select(bitcast<f32>(nan), params.direction, position < params.positions);
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let units = params.width / 4u; // vectors in a row
  let steps = select(units, units / 2u, HALF_SPLIT); // invocations for a row
  let i = id.x + id.y * groups.x * 64u;
  let row = i / steps;
  let step = i % steps;
  if (row >= params.rows) {
    return;
  }
  let position = position_of(params.first_row + row);
  let at = row * units + step;
  if (HALF_SPLIT) {
    let t = turns[position * units + 2u * step];
    let u = turns[position * units + 2u * step + 1u];
    let c = vec4<f32>(t.xz, u.xz);
    let s = vec4<f32>(t.yw, u.yw) * direction_at(position);
    let a = vec4<f32>(x[at]);
    let b = vec4<f32>(x[at + steps]);
    y[at] = Y(a * c - b * s);
    y[at + steps] = Y(a * s + b * c);
  } else {
    let t = turns[position * units + step];
    let v = vec4<f32>(x[at]);
    let turned = vec4<f32>(-v.y, v.x, -v.w, v.z) * direction_at(position);
    y[at] = Y(v * t.xxzz + turned * t.yyww);
  }
}
