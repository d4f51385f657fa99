// Keys and values of int8: for each head of each position, d codes (padded to whole words) and then the f32 scale that
// they are multiplied by (see src/device/quantised.ts).

import { max4, rounded, unpack8 } from "./quantised.as";

/** The bytes of codes of a head. */
// @ts-ignore: decorator
@inline
function codeBytes(d: i32): usize {
  return <usize> ((d + 3) & ~3);
}

/** y (d of f32) = a head of int8. */
export function int8_to_f32(x: usize, d: i32, y: usize): void {
  const scale = load<f32>(x + codeBytes(d)), scales = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= d; i += 8) unpack8(v128.load8x8_s(x + <usize> i), scales, y + (<usize> i << 2));
  for (; i < d; i++) store<f32>(y + (<usize> i << 2), <f32> load<i8>(x + <usize> i) * scale);
}

/** y (a head of int8) = x (d of f32). */
function f32_to_int8(x: usize, d: i32, y: usize): void {
  let top = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= d; i += 4) top = f32x4.max(top, f32x4.abs(v128.load(x + (<usize> i << 2))));
  let most = max4(top); // NaN if a number is
  for (; i < d; i++) most = max(most, abs(load<f32>(x + (<usize> i << 2))));
  const inverse: f32 = most > 1e-30 ? 127 / most : 0, inverses = f32x4.splat(inverse);
  for (i = 0; i + 4 <= d; i += 4) {
    const codes = rounded(x + (<usize> i << 2), inverses);
    const bytes = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(codes, codes), i16x8.splat(0));
    v128.store32_lane(y + <usize> i, bytes, 0);
  }
  if (i < d) {
    let word: u32 = 0;
    for (let shift = 0; i < d; i++, shift += 8) {
      const code = <i32> nearest(load<f32>(x + (<usize> i << 2)) * inverse);
      word |= <u32> (code & 255) << shift;
    }
    store<u32>(y + codeBytes(d) - 4, word);
  }
  store<f32>(y + codeBytes(d), most / 127);
}

/**
 * Heads [start, end) of x (batch, time, heads, d), of f32, are written as int8 into y (batch, capacity, heads), at
 * positions `position` + `positions[b]` + t of sequence b unless they are past the capacity. `positions` may be 0.
 */
export function write_int8_rows(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  positions: usize,
  y: usize,
  time: i32,
  heads: i32,
  d: i32,
  capacity: i32,
  position: i32,
): void {
  const bytes = codeBytes(d) + 4;
  for (let row = start; row < end; row++) {
    const head = row % heads, t = row / heads % time, b = row / (heads * time);
    const place = position + t + (positions ? load<i32>(positions + (<usize> b << 2)) : 0);
    if (place >= capacity) continue;
    const to = (<usize> b * <usize> capacity + <usize> place) * <usize> heads + <usize> head;
    f32_to_int8(x + (<usize> row * <usize> d << 2), d, y + to * bytes);
  }
}
