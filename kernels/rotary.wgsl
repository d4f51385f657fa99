// Turns pairs (a, b) of each head by the angle of their position: (a cos - b sin, a sin + b cos)
// (Su et al., 2021); one invocation a pair. `turns` holds cos and sin side by side.
alias X = f32; // x as stored
alias Y = f32; // y as stored
const HALF_SPLIT = false; // pairs (i, i + D/2) in place of (2i, 2i + 1)

struct Params {
  rows: u32, // B * T * H
  length: u32, // T
  heads: u32, // H
  width: u32, // D
  start: u32, // position of the first of T
  firstRow: u32, // index of the first row of x
  direction: f32, // 1, or -1 to turn back
  halfSplit: u32,
}

@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read> turns: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;
@group(0) @binding(3) var<uniform> params: Params;

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
  let position = params.start + ((params.firstRow + row) / params.heads) % params.length;
  let c = turns[position * params.width + 2u * pair];
  let s = turns[position * params.width + 2u * pair + 1u] * params.direction;
  let at = row * params.width + select(2u * pair, pair, HALF_SPLIT);
  let next = at + select(1u, pairs, HALF_SPLIT);
  let a = f32(x[at]);
  let b = f32(x[next]);
  y[at] = Y(a * c - b * s);
  y[next] = Y(a * s + b * c);
}
