// Rows of f32 times a transposed matrix of f16, which is read once, as it lies: what decoding does with weights of two bytes.
//
// The exponent of f16, 0 to 31, becomes one of f32 from 224 on: numbers are 2^112 too large, infinities and NaN stay such, and
// nothing is subnormal in f32, with which multiplications take a hundred cycles. What is subnormal in f16, or 0, comes out
// too large by up to 2^-15, which is subtracted in the end (to 2^-39); where there is such is kept in a list, since a branch that
// is taken now and then costs more. Rows are 2^40 too small to make up for a part of it.

import { widen } from "./half.as";
import { lanes, scratch } from "./layout.as";

/** The bits that take the exponents of two f16 from 224 on. */
const HIGH = memory.data<i32>([0x70007000]);
/** Twice the least number that is not subnormal, two of them. */
const TWICE_NORMAL = memory.data<i32>([0x08000800]);

function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

/** The high halves of 8 f32. */
// @ts-ignore: decorator
@inline
function highs(halves: v128): v128 {
  return v128.or(i16x8.shr_s(halves, 3), lanes(HIGH));
}

/** The first four of 8 f32. */
// @ts-ignore: decorator
@inline
function first(low: v128, high: v128): v128 {
  return v128.shuffle<i16>(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
}

/** The other four. */
// @ts-ignore: decorator
@inline
function second(low: v128, high: v128): v128 {
  return v128.shuffle<i16>(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** `sum` and the products of 8 f16 with `y` and `z`. */
// @ts-ignore: decorator
@inline
function dot8(halves: v128, y: v128, z: v128, sum: v128): v128 {
  const low = i16x8.shl(halves, 13), high = highs(halves);
  return madd(second(low, high), z, madd(first(low, high), y, sum));
}

/** Whether one of 8 f16, twice which these are the smallest of as integers, is subnormal or 0. */
// @ts-ignore: decorator
@inline
function isSmall(least: v128): bool {
  return v128.any_true(i16x8.sub_sat_u(lanes(TWICE_NORMAL), least));
}

/** What rows are multiplied with for `corrected`: -2^112 2^-25. */
const EXCESS: f32 = reinterpret<f32>(0xeb000000);

/** `sum` without what 8 f16 made it too large by; `y` and `z` are the row's numbers times `EXCESS`. */
// @ts-ignore: decorator
@inline
function corrected(halves: v128, y: v128, z: v128, sum: v128): v128 {
  // 1024 - m where the exponent is 0, else 0.
  const excess = i16x8.sub_sat_u(i16x8.splat(1024), v128.and(halves, i16x8.splat(0x7fff)));
  const sign = i16x8.shr_s(halves, 15);
  const signed = i16x8.sub(v128.xor(excess, sign), sign);
  sum = madd(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(signed)), y, sum);
  return madd(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(signed)), z, sum);
}

/** Four numbers of a row for `corrected`. */
// @ts-ignore: decorator
@inline
function scaled(x: usize): v128 {
  return f32x4.mul(v128.load(x), f32x4.splat(EXCESS));
}

/** [y +] alpha * (the sum of four lanes, and the products from element `i` on) [+ bias]. */
function put(
  y: usize,
  sums: v128,
  x: usize,
  w: usize,
  i: usize,
  k: usize,
  alpha: f32,
  accumulate: bool,
  bias: usize,
): void {
  let dot = (f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 2)) +
    (f32x4.extract_lane(sums, 1) + f32x4.extract_lane(sums, 3));
  for (; i < k; i++) {
    const half = f32x4.extract_lane(widen(i32x4.splat(load<u16>(w + (i << 1)))), 0);
    dot += half * reinterpret<f32>(0x77800000) * load<f32>(x + (i << 2));
  }
  dot *= alpha;
  if (accumulate) dot = load<f32>(y) + dot;
  if (bias) dot += load<f32>(bias);
  store<f32>(y, dot);
}

/**
 * Columns [start, end) of C = [C +] alpha A B^T [+ bias] with A (m, k) of f32 times 2^-40, B (n, k) of f16 and C (m, n), and
 * alpha times 2^-72; strides in elements. Every output is summed in the same order whatever else is computed.
 */
export function hgemm_few(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  k: usize,
  alpha: f32,
  a: usize,
  lda: usize,
  b: usize,
  ldb: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
  bias: usize,
): void {
  lda <<= 2;
  ldb <<= 1;
  ldc <<= 2;
  const step = m == 1 ? 4 : 2, list = scratch(thread);
  for (let column = start; column < end; column += step) {
    const j = <usize> column;
    const w = b + j * ldb, y = c + (j << 2), own = bias ? bias + (j << 2) : 0;
    const columns = min(step, end - column);
    // The next columns, if there are such, else these.
    const next = column + 8 <= end ? w + 4 * ldb : w;
    if (m == 1) oneRow(list, next, columns, k, alpha, a, w, ldb, y, accumulate, own);
    else {
      for (let row = 0; row < m; row += 4) {
        const r = <usize> row;
        // deno-fmt-ignore
        fourRows(list, min(4, m - row), columns, k, alpha, a + r * lda, lda, w, ldb, y + r * ldc, ldc, accumulate, own);
      }
    }
  }
}

/**
 * Up to four columns of one row. A number of each cache line from `next` on is read ahead of time: with the arithmetic between
 * reads few of them are under way at once, and processors do not see by themselves what will be read.
 */
function oneRow(
  list: usize,
  next: usize,
  columns: i32,
  k: usize,
  alpha: f32,
  x: usize,
  w0: usize,
  ldw: usize,
  c: usize,
  accumulate: bool,
  bias: usize,
): void {
  // Columns that are not there are the first one once more, which is not stored twice.
  const w1 = columns > 1 ? w0 + ldw : w0, w2 = columns > 2 ? w1 + ldw : w0;
  const w3 = columns > 3 ? w2 + ldw : w0;
  const whole = k & ~7;
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, end = list, ahead = 0;
  for (let i: usize = 0; i < whole; i += 8) {
    const at = i << 1;
    ahead |= load<i32>(next + 4 * at);
    const y = v128.load(x + 2 * at), z = v128.load(x + 2 * at, 16);
    let h = v128.load(w0 + at);
    s0 = dot8(h, y, z, s0);
    let least = i16x8.add(h, h);
    h = v128.load(w1 + at);
    s1 = dot8(h, y, z, s1);
    least = i16x8.min_u(least, i16x8.add(h, h));
    h = v128.load(w2 + at);
    s2 = dot8(h, y, z, s2);
    least = i16x8.min_u(least, i16x8.add(h, h));
    h = v128.load(w3 + at);
    s3 = dot8(h, y, z, s3);
    least = i16x8.min_u(least, i16x8.add(h, h));
    store<usize>(end, at);
    end += <usize> isSmall(least) << 2;
  }
  for (let place = list; place < end; place += 4) {
    const at = load<usize>(place);
    const y = scaled(x + 2 * at), z = scaled(x + 2 * at + 16);
    s0 = corrected(v128.load(w0 + at), y, z, s0);
    s1 = corrected(v128.load(w1 + at), y, z, s1);
    s2 = corrected(v128.load(w2 + at), y, z, s2);
    s3 = corrected(v128.load(w3 + at), y, z, s3);
  }
  store<i32>(list, ahead); // so that the compiler keeps it
  put(c, s0, x, w0, whole, k, alpha, accumulate, bias);
  if (columns > 1) put(c + 4, s1, x, w1, whole, k, alpha, accumulate, bias ? bias + 4 : 0);
  if (columns > 2) put(c + 8, s2, x, w2, whole, k, alpha, accumulate, bias ? bias + 8 : 0);
  if (columns > 3) put(c + 12, s3, x, w3, whole, k, alpha, accumulate, bias ? bias + 12 : 0);
}

/** Up to two columns of up to four rows: numbers are converted once. */
function fourRows(
  list: usize,
  rows: i32,
  columns: i32,
  k: usize,
  alpha: f32,
  x0: usize,
  ldx: usize,
  w0: usize,
  ldw: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
  bias: usize,
): void {
  const w1 = columns > 1 ? w0 + ldw : w0;
  const x1 = rows > 1 ? x0 + ldx : x0, x2 = rows > 2 ? x1 + ldx : x0, x3 = rows > 3 ? x2 + ldx : x0;
  const whole = k & ~7;
  let p0 = f32x4.splat(0), p1 = p0, p2 = p0, p3 = p0, q0 = p0, q1 = p0, q2 = p0, q3 = p0;
  let end = list;
  for (let i: usize = 0; i < whole; i += 8) {
    const at = i << 1;
    const g = v128.load(w0 + at), h = v128.load(w1 + at);
    let low = i16x8.shl(g, 13), high = highs(g);
    const u0 = first(low, high), u1 = second(low, high);
    low = i16x8.shl(h, 13);
    high = highs(h);
    const v0 = first(low, high), v1 = second(low, high);
    let y = v128.load(x0 + 2 * at), z = v128.load(x0 + 2 * at, 16);
    p0 = madd(u1, z, madd(u0, y, p0));
    q0 = madd(v1, z, madd(v0, y, q0));
    y = v128.load(x1 + 2 * at);
    z = v128.load(x1 + 2 * at, 16);
    p1 = madd(u1, z, madd(u0, y, p1));
    q1 = madd(v1, z, madd(v0, y, q1));
    y = v128.load(x2 + 2 * at);
    z = v128.load(x2 + 2 * at, 16);
    p2 = madd(u1, z, madd(u0, y, p2));
    q2 = madd(v1, z, madd(v0, y, q2));
    y = v128.load(x3 + 2 * at);
    z = v128.load(x3 + 2 * at, 16);
    p3 = madd(u1, z, madd(u0, y, p3));
    q3 = madd(v1, z, madd(v0, y, q3));
    store<usize>(end, at);
    end += <usize> isSmall(i16x8.min_u(i16x8.add(g, g), i16x8.add(h, h))) << 2;
  }
  for (let place = list; place < end; place += 4) {
    const at = load<usize>(place), g = v128.load(w0 + at), h = v128.load(w1 + at);
    let y = scaled(x0 + 2 * at), z = scaled(x0 + 2 * at + 16);
    p0 = corrected(g, y, z, p0);
    q0 = corrected(h, y, z, q0);
    y = scaled(x1 + 2 * at);
    z = scaled(x1 + 2 * at + 16);
    p1 = corrected(g, y, z, p1);
    q1 = corrected(h, y, z, q1);
    y = scaled(x2 + 2 * at);
    z = scaled(x2 + 2 * at + 16);
    p2 = corrected(g, y, z, p2);
    q2 = corrected(h, y, z, q2);
    y = scaled(x3 + 2 * at);
    z = scaled(x3 + 2 * at + 16);
    p3 = corrected(g, y, z, p3);
    q3 = corrected(h, y, z, q3);
  }
  for (let r = 0; r < rows; r++) {
    const x = r == 0 ? x0 : r == 1 ? x1 : r == 2 ? x2 : x3;
    const p = r == 0 ? p0 : r == 1 ? p1 : r == 2 ? p2 : p3;
    const q = r == 0 ? q0 : r == 1 ? q1 : r == 2 ? q2 : q3;
    put(c, p, x, w0, whole, k, alpha, accumulate, bias);
    if (columns > 1) put(c + 4, q, x, w1, whole, k, alpha, accumulate, bias ? bias + 4 : 0);
    c += ldc;
  }
}
