// Matrix times vector, as in decoding one token at a time. Bound by memory, so the matrix is read once, in order.

import { matrixAt, scratch } from "./layout.as";

/** Columns whose running sums fit in the L1 cache. */
const COLUMN_BLOCK = 1024;

function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

/** The sum of the lanes, then the tail of a dot product from element `i` on. */
function finishDot(s: v128, w: usize, x: usize, i: i32, k: i32): f32 {
  let sum = (f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 2)) +
    (f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 3));
  for (; i < k; i++) {
    const at = <usize> i << 2;
    sum += load<f32>(w + at) * load<f32>(x + at);
  }
  return sum;
}

/** [y +] alpha * dot [+ bias]. */

function put(
  y: usize,
  dot: f32,
  alpha: f32,
  accumulate: bool,
  bias: usize,
): void {
  dot *= alpha;
  if (accumulate) dot = load<f32>(y) + dot;
  if (bias) dot += load<f32>(bias);
  store<f32>(y, dot);
}

/**
 * Outputs [start, end) of a batch of products y = [y +] alpha * W x [+ bias], n outputs each.
 *
 * With `byRows`, W is n x k and y[j] is the dot product of row j with x; otherwise W is k x n. x is contiguous; y has
 * the stride `incy`. All strides are in elements.
 */
export function sgemv(
  thread: i32,
  start: i32,
  end: i32,
  n: i32,
  k: i32,
  alpha: f32,
  inner: usize,
  x: usize,
  xOuter: usize,
  xInner: usize,
  w: usize,
  ldw: usize,
  wOuter: usize,
  wInner: usize,
  byRows: bool,
  y: usize,
  incy: usize,
  yOuter: usize,
  yInner: usize,
  accumulate: bool,
  bias: usize,
  biasStep: usize,
): void {
  ldw <<= 2;
  incy <<= 2;
  biasStep <<= 2;
  const sums = scratch(thread);
  while (start < end) {
    const item = <usize> (start / n);
    const first = start % n, last = min(n, first + end - start);
    start += last - first;
    const xHere = matrixAt(x, item, inner, xOuter, xInner);
    const wHere = matrixAt(w, item, inner, wOuter, wInner);
    const yHere = matrixAt(y, item, inner, yOuter, yInner);
    let j = first;
    if (byRows) {
      // Eight outputs at a time, each summed as in `sgemm_few`, so that a row of a batch gives the same result as
      // alone.
      for (; j + 8 <= last; j += 8) {
        const w0 = wHere + <usize> j * ldw, w1 = w0 + ldw, w2 = w1 + ldw, w3 = w2 + ldw;
        const w4 = w3 + ldw, w5 = w4 + ldw, w6 = w5 + ldw, w7 = w6 + ldw;
        let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
        let i = 0;
        for (; i + 4 <= k; i += 4) {
          const at = <usize> i << 2;
          const v = v128.load(xHere + at);
          s0 = madd(v128.load(w0 + at), v, s0);
          s1 = madd(v128.load(w1 + at), v, s1);
          s2 = madd(v128.load(w2 + at), v, s2);
          s3 = madd(v128.load(w3 + at), v, s3);
          s4 = madd(v128.load(w4 + at), v, s4);
          s5 = madd(v128.load(w5 + at), v, s5);
          s6 = madd(v128.load(w6 + at), v, s6);
          s7 = madd(v128.load(w7 + at), v, s7);
        }
        for (let lane = 0; lane < 8; lane++) {
          const s = lane == 0
            ? s0
            : lane == 1
            ? s1
            : lane == 2
            ? s2
            : lane == 3
            ? s3
            : lane == 4
            ? s4
            : lane == 5
            ? s5
            : lane == 6
            ? s6
            : s7;
          const o = <usize> (j + lane);
          const dot = finishDot(s, wHere + o * ldw, xHere, i, k);
          put(
            yHere + o * incy,
            dot,
            alpha,
            accumulate,
            bias ? bias + o * biasStep : 0,
          );
        }
      }
      for (; j < last; j++) {
        const o = <usize> j, row = wHere + o * ldw;
        let s = f32x4.splat(0);
        let i = 0;
        for (; i + 4 <= k; i += 4) {
          const at = <usize> i << 2;
          s = madd(v128.load(row + at), v128.load(xHere + at), s);
        }
        const dot = finishDot(s, row, xHere, i, k);
        put(
          yHere + o * incy,
          dot,
          alpha,
          accumulate,
          bias ? bias + o * biasStep : 0,
        );
      }
    } else {
      while (j < last) {
        const width = min(COLUMN_BLOCK, last - j);
        sumRows(sums, xHere, wHere + (<usize> j << 2), ldw, width, k);
        for (let i = 0; i < width; i++) {
          const o = <usize> (j + i);
          put(
            yHere + o * incy,
            load<f32>(sums + (<usize> i << 2)),
            alpha,
            accumulate,
            bias ? bias + o * biasStep : 0,
          );
        }
        j += width;
      }
    }
  }
}

/** sums[i] = sum over k of x[k] * W[k, i], in the order of k; four rows of W at a time. */
function sumRows(sums: usize, x: usize, w: usize, ldw: usize, width: i32, k: i32): void {
  memory.fill(sums, 0, (<usize> width << 2) + 12);
  let p = 0;
  for (; p + 4 <= k; p += 4) {
    const at = x + (<usize> p << 2);
    const x0 = v128.load32_splat(at), x1 = v128.load32_splat(at, 4);
    const x2 = v128.load32_splat(at, 8), x3 = v128.load32_splat(at, 12);
    const w0 = w + <usize> p * ldw, w1 = w0 + ldw, w2 = w1 + ldw, w3 = w2 + ldw;
    let i: usize = 0;
    const whole = <usize> (width & ~3) << 2;
    for (; i < whole; i += 16) {
      let s = v128.load(sums + i);
      s = madd(v128.load(w0 + i), x0, s);
      s = madd(v128.load(w1 + i), x1, s);
      s = madd(v128.load(w2 + i), x2, s);
      s = madd(v128.load(w3 + i), x3, s);
      v128.store(sums + i, s);
    }
    for (const total = <usize> width << 2; i < total; i += 4) {
      let s = v128.load32_zero(sums + i);
      s = madd(v128.load32_zero(w0 + i), x0, s);
      s = madd(v128.load32_zero(w1 + i), x1, s);
      s = madd(v128.load32_zero(w2 + i), x2, s);
      s = madd(v128.load32_zero(w3 + i), x3, s);
      v128.store32_lane(sums + i, s, 0);
    }
  }
  for (; p < k; p++) {
    const x0 = v128.load32_splat(x + (<usize> p << 2));
    const w0 = w + <usize> p * ldw;
    let i: usize = 0;
    const whole = <usize> (width & ~3) << 2;
    for (; i < whole; i += 16) {
      v128.store(sums + i, madd(v128.load(w0 + i), x0, v128.load(sums + i)));
    }
    for (const total = <usize> width << 2; i < total; i += 4) {
      const s = madd(v128.load32_zero(w0 + i), x0, v128.load32_zero(sums + i));
      v128.store32_lane(sums + i, s, 0);
    }
  }
}
