// Many rows times a quantised matrix, in integers: rows are rounded to 7 bits with a scale for each block of 32, for which
// there is one instruction (relaxed dot products, `vpdpbusd` on recent x86). Rows lie in fours: 4 numbers of each of them, then
// the next 4. A thread packs 8 columns in the same way, and multiplies 4 rows at a time with them, so that two addresses are enough.

import { widenFinite } from "./half.as";
import { lanes, scratch } from "./layout.as";

/** What is added to codes of 7 bits, so that none is below 0. */
const OFFSET: i32 = 64;
/** Bytes of a packed block of 8 columns: codes, what the offset adds to the sums, scales. */
const PACKED: usize = 256 + 32 + 32;
const ONES = memory.data<i32>([0x01010101]);

/**
 * Blocks [start, end) of rows of `blocks` blocks of f32: codes of 7 bits, of which 64 is 0, and the scale of each block. Of every
 * four rows, all codes of a block lie together, and so do the scales.
 */
export function rows_to_i7(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  ldx: usize,
  blocks: i32,
  codes: usize,
  scales: usize,
): void {
  for (let block = start; block < end; block++) {
    const row = block / blocks;
    const from = x + (<usize> row * ldx + <usize> (block % blocks * 32) << 2);
    let most = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(from + i)));
    const largest = max(
      max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
      max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
    );
    const inverse = f32x4.splat(largest > 0 ? 63 / largest : 0);
    const place = (<usize> (row >> 2) * <usize> blocks + <usize> (block % blocks) << 4) + <usize> ((row & 3) << 2);
    for (let i: usize = 0; i < 32; i += 16) {
      const at = from + (i << 2), to = codes + ((place & ~15) << 3) + (place & 15) + (i << 2);
      const low = i16x8.narrow_i32x4_s(rounded(at, inverse), rounded(at + 16, inverse));
      const high = i16x8.narrow_i32x4_s(rounded(at + 32, inverse), rounded(at + 48, inverse));
      const all = i8x16.add(i8x16.narrow_i16x8_s(low, high), i8x16.splat(<i8> OFFSET));
      v128.store32_lane(to, all, 0);
      v128.store32_lane(to, all, 1, 16);
      v128.store32_lane(to, all, 2, 32);
      v128.store32_lane(to, all, 3, 48);
    }
    store<f32>(scales + place, largest / 63);
  }
}

function rounded(at: usize, factor: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(at), factor)));
}

/** Packs the blocks of 4 of 8 columns, from `column` on; columns past the end are those before it, which is never stored. */
function pack(to: usize, w: usize, s: usize, blocks: usize, column: i32, n: i32, fourBits: bool): void {
  const ones = lanes(ONES);
  const last = n - 1;
  const c0 = <usize> min(column, last) * blocks, c1 = <usize> min(column + 1, last) * blocks;
  const c2 = <usize> min(column + 2, last) * blocks, c3 = <usize> min(column + 3, last) * blocks;
  for (let block: usize = 0; block < blocks; block++) {
    let sums = i32x4.splat(0);
    for (let half: usize = 0; half < 2; half++) {
      const a = codes16(w, c0 + block, half, fourBits), b = codes16(w, c1 + block, half, fourBits);
      const c = codes16(w, c2 + block, half, fourBits), d = codes16(w, c3 + block, half, fourBits);
      const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5), ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
      const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
      const r0 = v128.shuffle<i64>(ab0, cd0, 0, 2), r1 = v128.shuffle<i64>(ab0, cd0, 1, 3);
      const r2 = v128.shuffle<i64>(ab1, cd1, 0, 2), r3 = v128.shuffle<i64>(ab1, cd1, 1, 3);
      const at = to + (half << 7);
      v128.store(at, r0);
      v128.store(at, r1, 32);
      v128.store(at, r2, 64);
      v128.store(at, r3, 96);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r0, ones, sums);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r1, ones, sums);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r2, ones, sums);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r3, ones, sums);
    }
    v128.store(to, i32x4.mul(sums, i32x4.splat(-OFFSET)), 256);
    let halves = i32x4.splat(load<u16>(s + (c0 + block << 1)));
    halves = i32x4.replace_lane(halves, 1, load<u16>(s + (c1 + block << 1)));
    halves = i32x4.replace_lane(halves, 2, load<u16>(s + (c2 + block << 1)));
    halves = i32x4.replace_lane(halves, 3, load<u16>(s + (c3 + block << 1)));
    v128.store(to, widenFinite(halves), 288);
    to += PACKED;
  }
}

/** 16 codes of a block, the first or the second half of it. */
function codes16(w: usize, block: usize, half: usize, fourBits: bool): v128 {
  if (!fourBits) return v128.load(w + (block << 5) + (half << 4));
  const pairs = v128.load(w + (block << 4));
  const codes = half ? i16x8.shr_u(pairs, 4) : pairs;
  return i8x16.sub(v128.and(codes, i8x16.splat(15)), i8x16.splat(8));
}

// @ts-ignore: decorator
@inline
function dot(w: v128, x: v128, sum: v128): v128 {
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, sum);
}

/** [y +] alpha * sums [+ bias] of 4 columns, as far as there are such. */
function put(y: usize, sums: v128, alpha: f32, accumulate: bool, bias: usize, columns: i32): void {
  sums = f32x4.mul(sums, f32x4.splat(alpha));
  if (columns >= 4) {
    if (accumulate) sums = f32x4.add(v128.load(y), sums);
    if (bias) sums = f32x4.add(sums, v128.load(bias));
    v128.store(y, sums);
    return;
  }
  for (let i = 0; i < columns; i++) {
    let value = f32x4.extract_lane(sums, 0);
    if (accumulate) value = load<f32>(y) + value;
    if (bias) {
      value += load<f32>(bias);
      bias += 4;
    }
    store<f32>(y, value);
    y += 4;
    sums = v128.shuffle<i32>(sums, sums, 1, 2, 3, 0);
  }
}

/**
 * Eights of columns [start, end) of C = [C +] alpha X W^T [+ bias]: X (m rows of blocks) as `rows_to_i7` made it, W a row of
 * codes a column.
 */
export function multiply_many(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  n: i32,
  blocks: usize,
  fourBits: bool,
  alpha: f32,
  x: usize,
  xScales: usize,
  w: usize,
  s: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
  bias: usize,
): void {
  const panel = scratch(thread);
  for (let eight = start; eight < end; eight++) {
    const column = eight << 3;
    pack(panel, w, s, blocks, column, n, fourBits);
    pack(panel + 16, w, s, blocks, column + 4, n, fourBits);
    let numbers = x, scales = xScales;
    for (let row = 0; row < m; row += 4) {
      let f00 = f32x4.splat(0), f01 = f00, f10 = f00, f11 = f00;
      let f20 = f00, f21 = f00, f30 = f00, f31 = f00;
      let p = panel;
      for (let block: usize = 0; block < blocks; block++) {
        let a00 = v128.load(p, 256), a01 = v128.load(p, 272);
        let a10 = a00, a11 = a01, a20 = a00, a21 = a01, a30 = a00, a31 = a01;
        const to = numbers + 128;
        // Unrolled twice, so that addresses are computed half as often.
        for (let at = p; numbers < to; at += 64) {
          let u = v128.load(at), v = v128.load(at, 16), y = v128.load32_splat(numbers);
          a00 = dot(u, y, a00);
          a01 = dot(v, y, a01);
          y = v128.load32_splat(numbers, 4);
          a10 = dot(u, y, a10);
          a11 = dot(v, y, a11);
          y = v128.load32_splat(numbers, 8);
          a20 = dot(u, y, a20);
          a21 = dot(v, y, a21);
          y = v128.load32_splat(numbers, 12);
          a30 = dot(u, y, a30);
          a31 = dot(v, y, a31);
          u = v128.load(at, 32);
          v = v128.load(at, 48);
          y = v128.load32_splat(numbers, 16);
          a00 = dot(u, y, a00);
          a01 = dot(v, y, a01);
          y = v128.load32_splat(numbers, 20);
          a10 = dot(u, y, a10);
          a11 = dot(v, y, a11);
          y = v128.load32_splat(numbers, 24);
          a20 = dot(u, y, a20);
          a21 = dot(v, y, a21);
          y = v128.load32_splat(numbers, 28);
          a30 = dot(u, y, a30);
          a31 = dot(v, y, a31);
          numbers += 32;
        }
        const scales0 = v128.load(p, 288), scales1 = v128.load(p, 304);
        let t = v128.load32_splat(scales);
        f00 = scaled(a00, scales0, t, f00);
        f01 = scaled(a01, scales1, t, f01);
        t = v128.load32_splat(scales, 4);
        f10 = scaled(a10, scales0, t, f10);
        f11 = scaled(a11, scales1, t, f11);
        t = v128.load32_splat(scales, 8);
        f20 = scaled(a20, scales0, t, f20);
        f21 = scaled(a21, scales1, t, f21);
        t = v128.load32_splat(scales, 12);
        f30 = scaled(a30, scales0, t, f30);
        f31 = scaled(a31, scales1, t, f31);
        p += PACKED;
        scales += 16;
      }
      for (let r = 0; r < min(4, m - row); r++) {
        const left = r == 0 ? f00 : r == 1 ? f10 : r == 2 ? f20 : f30;
        const right = r == 0 ? f01 : r == 1 ? f11 : r == 2 ? f21 : f31;
        const y = c + (<usize> (row + r) * ldc + <usize> column << 2);
        const b = bias ? bias + (<usize> column << 2) : 0;
        put(y, left, alpha, accumulate, b, n - column);
        put(y + 16, right, alpha, accumulate, b ? b + 16 : 0, n - column - 4);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function scaled(sums: v128, scales: v128, scale: v128, total: v128): v128 {
  return f32x4.relaxed_madd(f32x4.convert_i32x4_s(sums), f32x4.mul(scales, scale), total);
}
