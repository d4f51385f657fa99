// Products with quantised matrices: 32 codes of 8 or 4 bits share an f16 scale (see src/device/quantised.ts).

import { widen, widenFinite } from "./half.as";
import { lanes } from "./layout.as";

const BLOCK: i32 = 32;

function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

function sumLanes(x: v128): f32 {
  return (f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 2)) +
    (f32x4.extract_lane(x, 1) + f32x4.extract_lane(x, 3));
}

function halfToFloat(at: usize): f32 {
  return f32x4.extract_lane(widen(i32x4.splat(load<u16>(at))), 0);
}

/**
 * Rounds blocks [start, end) of rows of `blocks` blocks of f32 to integers from -127 to 127: the scale of each block, and 8 times
 * the sum of what its integers stand for, which corrects for the offset of 8 of the 4-bit codes. With `magnitudes`, for codes of
 * 8 bits, 32 magnitudes are followed by 32 masks, -1 where a number is negative.
 */
export function rows_to_i8(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  ldx: usize,
  blocks: i32,
  magnitudes: bool,
  codes: usize,
  scales: usize,
  sums: usize,
): void {
  for (let block = start; block < end; block++) {
    const from = x + (<usize> (block / blocks) * ldx + <usize> (block % blocks * BLOCK) << 2);
    let most = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(from + i)));
    const max = max4(most);
    const inverse = f32x4.splat(max > 0 ? 127 / max : 0);
    const to = codes + (<usize> block << (magnitudes ? 6 : 5));
    let sum = i32x4.splat(0);
    for (let i: usize = 0; i < 32; i += 16) {
      const at = from + (i << 2);
      const a = rounded(at, inverse), b = rounded(at + 16, inverse);
      const c = rounded(at + 32, inverse), d = rounded(at + 48, inverse);
      sum = i32x4.add(sum, i32x4.add(i32x4.add(a, b), i32x4.add(c, d)));
      const all = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
      if (magnitudes) {
        v128.store(to + i, i8x16.abs(all));
        v128.store(to + i, i8x16.lt_s(all, i8x16.splat(0)), 32);
      } else v128.store(to + i, all);
    }
    const scale = max / 127;
    const total = i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) +
      i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
    store<f32>(scales + (<usize> block << 2), scale);
    store<f32>(sums + (<usize> block << 2), <f32> total * scale * 8);
  }
}

/** Four numbers times a factor, rounded to integers. */
export function rounded(at: usize, factor: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(at), factor)));
}

/** The largest of four lanes. */
export function max4(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

const LOW_BITS = memory.data<i32>([0x0f0f0f0f]);
const EIGHTS = memory.data<i32>([0x08080808]);

/** A number in the first lane, 0 in the others. */
// @ts-ignore: decorator
@inline
function first(x: i32): v128 {
  return i32x4.replace_lane(i32x4.splat(0), 0, x);
}

/** A lane in all lanes. */
// @ts-ignore: decorator
@inline
function splat(x: v128, lane: i32): v128 {
  if (lane == 0) return v128.shuffle<f32>(x, x, 0, 0, 0, 0);
  if (lane == 1) return v128.shuffle<f32>(x, x, 1, 1, 1, 1);
  if (lane == 2) return v128.shuffle<f32>(x, x, 2, 2, 2, 2);
  return v128.shuffle<f32>(x, x, 3, 3, 3, 3);
}

/**
 * `total` and the product of block `i` of a column at w with that of a row at x, times lane `i` of `scales`, spread over four
 * lanes. The instruction wants one side to be from 0 to 127: codes of 4 bits are, otherwise the magnitudes of the row's numbers,
 * whose signs the codes take (-128 is no code).
 */
// @ts-ignore: decorator
@inline
function addBlock(small: bool, w: usize, x: usize, i: i32, scales: v128, mask: v128, total: v128): v128 {
  const codes = w + (<usize> i << (small ? 4 : 5)), numbers = x + (<usize> i << (small ? 5 : 6));
  let sums = i32x4.splat(0);
  if (small) {
    const pairs = v128.load(codes), high = i16x8.shr_u(pairs, 4);
    sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(v128.load(numbers), v128.and(pairs, mask), sums);
    sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(v128.load(numbers, 16), v128.and(high, mask), sums);
  } else {
    const s = v128.load(numbers, 32), t = v128.load(numbers, 48);
    const a = i8x16.sub(v128.xor(v128.load(codes), s), s);
    const b = i8x16.sub(v128.xor(v128.load(codes, 16), t), t);
    sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(a, v128.load(numbers), sums);
    sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(b, v128.load(numbers, 16), sums);
  }
  return madd(f32x4.convert_i32x4_s(sums), splat(scales, i), total);
}

/** The same for four blocks, one after another. */
// @ts-ignore: decorator
@inline
function addFour(small: bool, w: usize, x: usize, scales: v128, mask: v128, total: v128): v128 {
  total = addBlock(small, w, x, 0, scales, mask, total);
  total = addBlock(small, w, x, 1, scales, mask, total);
  total = addBlock(small, w, x, 2, scales, mask, total);
  return addBlock(small, w, x, 3, scales, mask, total);
}

/** [y +] alpha * dot [+ bias]. */
function put(y: usize, dot: f32, alpha: f32, accumulate: bool, bias: usize): void {
  dot *= alpha;
  if (accumulate) dot = load<f32>(y) + dot;
  if (bias) dot += load<f32>(bias);
  store<f32>(y, dot);
}

/**
 * Columns [start, end) of C = [C +] alpha X W^T [+ bias]: X (m rows of blocks) from `rows_to_i8`, W one row of codes per column,
 * of 4 bits if `small`, otherwise of 8. Two columns at a time, so that there are two sums to add to; each is summed in the order of
 * its blocks, whatever else is computed.
 */
// @ts-ignore: decorator
@inline
function multiply(
  small: bool,
  start: i32,
  end: i32,
  m: i32,
  blocks: i32,
  alpha: f32,
  x: usize,
  xScales: usize,
  sums: usize,
  w: usize,
  s: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
  bias: usize,
): void {
  const mask = lanes(LOW_BITS), all = <usize> blocks;
  const codeBytes: usize = small ? 16 : 32, numberBytes: usize = small ? 32 : 64;
  for (let column = start; column < end; column += 2) {
    const j = <usize> column, pair = column + 1 < end;
    // Without a second column, the first stands in for it and is not stored twice.
    const next = pair ? j + 1 : j;
    for (let row: usize = 0; row < <usize> m; row++) {
      let w0 = w + j * all * codeBytes, w1 = w + next * all * codeBytes;
      let s0 = s + (j * all << 1), s1 = s + (next * all << 1);
      let at = x + row * all * numberBytes, scales = xScales + (row * all << 2), sum = sums + (row * all << 2);
      let f0 = f32x4.splat(0), f1 = f0, e0 = f0, e1 = f0;
      let left = blocks;
      for (; left >= 4; left -= 4) {
        const own = v128.load(scales), eights = v128.load(sum);
        const scale0 = widenFinite(v128.load16x4_u(s0)), scale1 = widenFinite(v128.load16x4_u(s1));
        f0 = addFour(small, w0, at, f32x4.mul(scale0, own), mask, f0);
        f1 = addFour(small, w1, at, f32x4.mul(scale1, own), mask, f1);
        if (small) {
          e0 = madd(scale0, eights, e0);
          e1 = madd(scale1, eights, e1);
        }
        w0 += 4 * codeBytes;
        w1 += 4 * codeBytes;
        s0 += 8;
        s1 += 8;
        at += 4 * numberBytes;
        scales += 16;
        sum += 16;
      }
      for (; left > 0; left--) {
        const own = v128.load32_zero(scales), eights = v128.load32_zero(sum);
        const scale0 = widenFinite(first(load<u16>(s0))), scale1 = widenFinite(first(load<u16>(s1)));
        f0 = addBlock(small, w0, at, 0, f32x4.mul(scale0, own), mask, f0);
        f1 = addBlock(small, w1, at, 0, f32x4.mul(scale1, own), mask, f1);
        if (small) {
          e0 = madd(scale0, eights, e0);
          e1 = madd(scale1, eights, e1);
        }
        w0 += codeBytes;
        w1 += codeBytes;
        s0 += 2;
        s1 += 2;
        at += numberBytes;
        scales += 4;
        sum += 4;
      }
      const y = c + (row * ldc + j << 2), own = bias ? bias + (j << 2) : 0;
      put(y, sumLanes(f32x4.sub(f0, e0)), alpha, accumulate, own);
      if (pair) put(y + 4, sumLanes(f32x4.sub(f1, e1)), alpha, accumulate, own ? own + 4 : 0);
    }
  }
}

export function multiply_q8_0(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  blocks: i32,
  alpha: f32,
  x: usize,
  xScales: usize,
  sums: usize,
  w: usize,
  s: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
  bias: usize,
): void {
  // deno-fmt-ignore
  multiply(false, start, end, m, blocks, alpha, x, xScales, sums, w, s, c, ldc, accumulate, bias);
}

export function multiply_q4_0(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  blocks: i32,
  alpha: f32,
  x: usize,
  xScales: usize,
  sums: usize,
  w: usize,
  s: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
  bias: usize,
): void {
  // deno-fmt-ignore
  multiply(true, start, end, m, blocks, alpha, x, xScales, sums, w, s, c, ldc, accumulate, bias);
}

/** Stores 8 codes of 16 bits as floats. */
// @ts-ignore: decorator
@inline
export function unpack8(codes: v128, scale: v128, y: usize): void {
  v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes)), scale));
  v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(codes)), scale), 16);
}

/** y (f32) = blocks [start, end) of codes of 8 bits. */
export function unpack_q8_0(thread: i32, start: i32, end: i32, w: usize, s: usize, y: usize): void {
  for (let block = <usize> start; block < <usize> end; block++) {
    const scale = f32x4.splat(halfToFloat(s + (block << 1)));
    const from = w + (block << 5), to = y + (block << 7);
    for (let i: usize = 0; i < 32; i += 8) unpack8(v128.load8x8_s(from + i), scale, to + (i << 2));
  }
}

/** y (f32) = blocks [start, end) of codes of 4 bits. */
export function unpack_q4_0(thread: i32, start: i32, end: i32, w: usize, s: usize, y: usize): void {
  const mask = lanes(LOW_BITS), eight = lanes(EIGHTS);
  for (let block = <usize> start; block < <usize> end; block++) {
    const scale = f32x4.splat(halfToFloat(s + (block << 1)));
    const pairs = v128.load(w + (block << 4)), to = y + (block << 7);
    const low = i8x16.sub(v128.and(pairs, mask), eight);
    const high = i8x16.sub(v128.and(i16x8.shr_u(pairs, 4), mask), eight);
    unpack8(i16x8.extend_low_i8x16_s(low), scale, to);
    unpack8(i16x8.extend_high_i8x16_s(low), scale, to + 32);
    unpack8(i16x8.extend_low_i8x16_s(high), scale, to + 64);
    unpack8(i16x8.extend_high_i8x16_s(high), scale, to + 96);
  }
}
