// A few rows times a transposed matrix, as in decoding several sequences at once. Packing the matrix, as `sgemm`
// does, would cost as much as the product; here its rows are read once, unpacked.

import { matrixAt } from "./layout.as";

function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

/** The sum of the lanes, and the rest of a dot product from element `i` on. */
function finish(s: v128, x: usize, w: usize, i: i32, k: i32): f32 {
  let sum = (f32x4.extract_lane(s, 0) + f32x4.extract_lane(s, 2)) +
    (f32x4.extract_lane(s, 1) + f32x4.extract_lane(s, 3));
  for (; i < k; i++) {
    const at = <usize> i << 2;
    sum += load<f32>(x + at) * load<f32>(w + at);
  }
  return sum;
}

/**
 * Columns [start, end) of a batch of products C = [C +] alpha A B^T [+ bias] with A (m, k), B (n, k) and C (m, n);
 * all strides are in elements. Processes two columns and four rows at a time; every output is summed in the same
 * order, whichever of them it is among.
 */
export function sgemm_few(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  n: i32,
  k: i32,
  alpha: f32,
  inner: usize,
  a: usize,
  lda: usize,
  aOuter: usize,
  aInner: usize,
  b: usize,
  ldb: usize,
  bOuter: usize,
  bInner: usize,
  c: usize,
  ldc: usize,
  cOuter: usize,
  cInner: usize,
  accumulate: bool,
  bias: usize,
): void {
  const whole = k & ~3;
  const stepA = lda << 2, stepB = ldb << 2;
  for (let column = start; column < end;) {
    const item = <usize> (column / n);
    const j = column % n;
    const pair = j + 1 < n && column + 1 < end;
    const w0 = matrixAt(b, item, inner, bOuter, bInner) + <usize> j * stepB;
    // Without a second column, the first stands in for it and is not stored twice.
    const w1 = pair ? w0 + stepB : w0;
    const rows = matrixAt(a, item, inner, aOuter, aInner);
    const out = matrixAt(c, item, inner, cOuter, cInner);
    for (let row = 0; row < m; row += 4) {
      const left = m - row;
      const x0 = rows + <usize> row * stepA;
      const x1 = left > 1 ? x0 + stepA : x0;
      const x2 = left > 2 ? x1 + stepA : x0;
      const x3 = left > 3 ? x2 + stepA : x0;
      let p0 = f32x4.splat(0), p1 = p0, p2 = p0, p3 = p0, q0 = p0, q1 = p0, q2 = p0, q3 = p0;
      let i = 0;
      // Unrolled twice, so that addresses are computed half as often.
      for (; i + 8 <= whole; i += 8) {
        const at = <usize> i << 2;
        const s0 = w0 + at, s1 = w1 + at, r0 = x0 + at, r1 = x1 + at, r2 = x2 + at, r3 = x3 + at;
        let u = v128.load(s0), v = v128.load(s1);
        let y = v128.load(r0);
        p0 = madd(y, u, p0);
        q0 = madd(y, v, q0);
        y = v128.load(r1);
        p1 = madd(y, u, p1);
        q1 = madd(y, v, q1);
        y = v128.load(r2);
        p2 = madd(y, u, p2);
        q2 = madd(y, v, q2);
        y = v128.load(r3);
        p3 = madd(y, u, p3);
        q3 = madd(y, v, q3);
        u = v128.load(s0, 16);
        v = v128.load(s1, 16);
        y = v128.load(r0, 16);
        p0 = madd(y, u, p0);
        q0 = madd(y, v, q0);
        y = v128.load(r1, 16);
        p1 = madd(y, u, p1);
        q1 = madd(y, v, q1);
        y = v128.load(r2, 16);
        p2 = madd(y, u, p2);
        q2 = madd(y, v, q2);
        y = v128.load(r3, 16);
        p3 = madd(y, u, p3);
        q3 = madd(y, v, q3);
      }
      if (i < whole) {
        const at = <usize> i << 2;
        const u = v128.load(w0 + at), v = v128.load(w1 + at);
        const y0 = v128.load(x0 + at), y1 = v128.load(x1 + at);
        const y2 = v128.load(x2 + at), y3 = v128.load(x3 + at);
        p0 = madd(y0, u, p0);
        q0 = madd(y0, v, q0);
        p1 = madd(y1, u, p1);
        q1 = madd(y1, v, q1);
        p2 = madd(y2, u, p2);
        q2 = madd(y2, v, q2);
        p3 = madd(y3, u, p3);
        q3 = madd(y3, v, q3);
      }
      for (let r = 0; r < min(4, left); r++) {
        const x = r == 0 ? x0 : r == 1 ? x1 : r == 2 ? x2 : x3;
        const p = r == 0 ? p0 : r == 1 ? p1 : r == 2 ? p2 : p3;
        const q = r == 0 ? q0 : r == 1 ? q1 : r == 2 ? q2 : q3;
        for (let second = 0; second <= i32(pair); second++) {
          const o = <usize> (j + second), i = <usize> (row + r);
          const y = out + (i * ldc + o << 2);
          let dot = alpha * finish(second ? q : p, x, second ? w1 : w0, whole, k);
          if (accumulate) dot = load<f32>(y) + dot;
          if (bias) dot += load<f32>(bias + (o << 2));
          store<f32>(y, dot);
        }
      }
    }
    column += pair ? 2 : 1;
  }
}
