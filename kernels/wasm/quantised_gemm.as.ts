// Many rows times a quantised matrix, in integers: rows are rounded to 7 bits with a scale for each block of 32, for which
// there is one instruction (relaxed dot products, `vpdpbusd` on recent x86). A thread packs 8 columns so that one vector
// holds 4 numbers of each of 4 columns, and multiplies 4 rows at a time with them.

import { widen } from "./half.as";
import { scratch } from "./layout.as";

/** What is added to codes of 7 bits, so that none is below 0. */
const OFFSET: i32 = 64;
/** Bytes of a packed block of 4 columns: codes, what the offset adds to the sums, scales. */
const PACKED: usize = 128 + 16 + 16;

/** Blocks [start, end) of rows of `blocks` blocks of f32: codes of 7 bits, of which 64 is 0, and the scale of each block. */
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
    const from = x + (<usize> (block / blocks) * ldx + <usize> (block % blocks * 32) << 2);
    let most = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(from + i)));
    const largest = max(
      max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
      max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
    );
    const inverse = f32x4.splat(largest > 0 ? 63 / largest : 0);
    const to = codes + (<usize> block << 5);
    for (let i: usize = 0; i < 32; i += 16) {
      const at = from + (i << 2);
      const low = i16x8.narrow_i32x4_s(rounded(at, inverse), rounded(at + 16, inverse));
      const high = i16x8.narrow_i32x4_s(rounded(at + 32, inverse), rounded(at + 48, inverse));
      v128.store(to + i, i8x16.add(i8x16.narrow_i16x8_s(low, high), i8x16.splat(<i8> OFFSET)));
    }
    store<f32>(scales + (<usize> block << 2), largest / 63);
  }
}

function rounded(at: usize, factor: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(at), factor)));
}

/** Packs the blocks of 4 columns from `column` on; columns past the end are those before it, which is never stored. */
function pack(to: usize, w: usize, s: usize, blocks: usize, column: i32, n: i32, fourBits: bool): void {
  const ones = i8x16.splat(1);
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
      const at = to + (half << 6);
      v128.store(at, r0);
      v128.store(at, r1, 16);
      v128.store(at, r2, 32);
      v128.store(at, r3, 48);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r0, ones, sums);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r1, ones, sums);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r2, ones, sums);
      sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(r3, ones, sums);
    }
    v128.store(to, i32x4.mul(sums, i32x4.splat(-OFFSET)), 128);
    let halves = i32x4.splat(load<u16>(s + (c0 + block << 1)));
    halves = i32x4.replace_lane(halves, 1, load<u16>(s + (c1 + block << 1)));
    halves = i32x4.replace_lane(halves, 2, load<u16>(s + (c2 + block << 1)));
    halves = i32x4.replace_lane(halves, 3, load<u16>(s + (c3 + block << 1)));
    v128.store(to, widen(halves), 144);
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
  const panel = scratch(thread), second = panel + blocks * PACKED;
  for (let eight = start; eight < end; eight++) {
    const column = eight << 3;
    pack(panel, w, s, blocks, column, n, fourBits);
    pack(second, w, s, blocks, column + 4, n, fourBits);
    for (let row = 0; row < m; row += 4) {
      const r0 = <usize> row * blocks, r1 = <usize> min(row + 1, m - 1) * blocks;
      const r2 = <usize> min(row + 2, m - 1) * blocks, r3 = <usize> min(row + 3, m - 1) * blocks;
      let x0 = x + (r0 << 5), x1 = x + (r1 << 5), x2 = x + (r2 << 5), x3 = x + (r3 << 5);
      let s0 = xScales + (r0 << 2), s1 = xScales + (r1 << 2);
      let s2 = xScales + (r2 << 2), s3 = xScales + (r3 << 2);
      let f00 = f32x4.splat(0), f01 = f00, f10 = f00, f11 = f00;
      let f20 = f00, f21 = f00, f30 = f00, f31 = f00;
      let p = panel, q = second;
      for (let block: usize = 0; block < blocks; block++) {
        let a00 = v128.load(p, 128), a01 = v128.load(q, 128);
        let a10 = a00, a11 = a01, a20 = a00, a21 = a01, a30 = a00, a31 = a01;
        for (let k: usize = 0; k < 32; k += 4) {
          const u = v128.load(p + (k << 2)), v = v128.load(q + (k << 2));
          const y0 = v128.load32_splat(x0 + k), y1 = v128.load32_splat(x1 + k);
          a00 = dot(u, y0, a00);
          a01 = dot(v, y0, a01);
          a10 = dot(u, y1, a10);
          a11 = dot(v, y1, a11);
          const y2 = v128.load32_splat(x2 + k), y3 = v128.load32_splat(x3 + k);
          a20 = dot(u, y2, a20);
          a21 = dot(v, y2, a21);
          a30 = dot(u, y3, a30);
          a31 = dot(v, y3, a31);
        }
        const scales0 = v128.load(p, 144), scales1 = v128.load(q, 144);
        const t0 = v128.load32_splat(s0), t1 = v128.load32_splat(s1);
        f00 = scaled(a00, scales0, t0, f00);
        f01 = scaled(a01, scales1, t0, f01);
        f10 = scaled(a10, scales0, t1, f10);
        f11 = scaled(a11, scales1, t1, f11);
        const t2 = v128.load32_splat(s2), t3 = v128.load32_splat(s3);
        f20 = scaled(a20, scales0, t2, f20);
        f21 = scaled(a21, scales1, t2, f21);
        f30 = scaled(a30, scales0, t3, f30);
        f31 = scaled(a31, scales1, t3, f31);
        p += PACKED;
        q += PACKED;
        x0 += 32;
        x1 += 32;
        x2 += 32;
        x3 += 32;
        s0 += 4;
        s1 += 4;
        s2 += 4;
        s3 += 4;
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
