// Products with quantised matrices: 32 codes of 8 or 4 bits share an f16 scale (see src/device/quantised.ts).

import { widen } from "./half.as";

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
 * Quantises blocks [start, end) of rows of `blocks` blocks of f32: codes of 16 bits, the scale of each block, and 8
 * times the sum of what its codes stand for, which corrects for the offset of 8 of the 4-bit codes.
 */
export function rows_to_i16(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  ldx: usize,
  blocks: i32,
  codes: usize,
  scales: usize,
  sums: usize,
): void {
  for (let block = start; block < end; block++) {
    const from = x + (<usize> (block / blocks) * ldx + <usize> (block % blocks * BLOCK) << 2);
    let most = f32x4.splat(0);
    for (let i: usize = 0; i < 128; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(from + i)));
    const max = max4(most);
    const inverse = f32x4.splat(max > 0 ? 32767 / max : 0);
    const to = codes + (<usize> block << 6);
    let sum = i32x4.splat(0);
    for (let i: usize = 0; i < 64; i += 16) {
      const a = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from + 2 * i), inverse)));
      const b = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from + 2 * i, 16), inverse)));
      v128.store(to + i, i16x8.narrow_i32x4_s(a, b));
      sum = i32x4.add(sum, i32x4.add(a, b));
    }
    const scale = max / 32767;
    const total = i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) +
      i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
    store<f32>(scales + (<usize> block << 2), scale);
    store<f32>(sums + (<usize> block << 2), <f32> total * scale * 8);
  }
}

/** The largest of four lanes. */
export function max4(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

/** The product of 32 codes of 8 bits with 32 of 16 bits, spread over four lanes. */
// @ts-ignore: decorator
@inline
function dot8(w: usize, x: usize): v128 {
  const a = i32x4.dot_i16x8_s(v128.load8x8_s(w), v128.load(x));
  const b = i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
}

/** The same for codes of 4 bits, which are stored with an offset of 8. */
// @ts-ignore: decorator
@inline
function dot4(w: usize, x: usize): v128 {
  const pairs = v128.load(w), mask = i8x16.splat(15);
  const low = v128.and(pairs, mask), high = v128.and(i16x8.shr_u(pairs, 4), mask);
  const a = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(low), v128.load(x));
  const b = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(low), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(high), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(high), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
}

/** A row of codes times a row of x, always in the same order. */
function rowDot8(w: usize, s: usize, x: usize, xScales: usize, blocks: i32): f32 {
  let u = f32x4.splat(0), v = u;
  let block = 0;
  for (; block + 4 <= blocks; block += 4) {
    const scales = f32x4.mul(widen(v128.load16x4_u(s)), v128.load(xScales));
    const s0 = v128.shuffle<f32>(scales, scales, 0, 0, 0, 0);
    const s1 = v128.shuffle<f32>(scales, scales, 1, 1, 1, 1);
    const s2 = v128.shuffle<f32>(scales, scales, 2, 2, 2, 2);
    const s3 = v128.shuffle<f32>(scales, scales, 3, 3, 3, 3);
    u = madd(f32x4.convert_i32x4_s(dot8(w, x)), s0, u);
    v = madd(f32x4.convert_i32x4_s(dot8(w + 32, x + 64)), s1, v);
    u = madd(f32x4.convert_i32x4_s(dot8(w + 64, x + 128)), s2, u);
    v = madd(f32x4.convert_i32x4_s(dot8(w + 96, x + 192)), s3, v);
    w += 128;
    s += 8;
    x += 256;
    xScales += 16;
  }
  for (; block < blocks; block++) {
    const scale = f32x4.splat(halfToFloat(s) * load<f32>(xScales));
    u = madd(f32x4.convert_i32x4_s(dot8(w, x)), scale, u);
    w += 32;
    s += 2;
    x += 64;
    xScales += 4;
  }
  return sumLanes(f32x4.add(u, v));
}

/** The same for codes of 4 bits; `sums` corrects for their offset. */
function rowDot4(w: usize, s: usize, x: usize, xScales: usize, sums: usize, blocks: i32): f32 {
  let u = f32x4.splat(0), v = u, excess = u;
  let block = 0;
  for (; block + 4 <= blocks; block += 4) {
    const own = widen(v128.load16x4_u(s));
    const scales = f32x4.mul(own, v128.load(xScales));
    excess = madd(own, v128.load(sums), excess);
    const s0 = v128.shuffle<f32>(scales, scales, 0, 0, 0, 0);
    const s1 = v128.shuffle<f32>(scales, scales, 1, 1, 1, 1);
    const s2 = v128.shuffle<f32>(scales, scales, 2, 2, 2, 2);
    const s3 = v128.shuffle<f32>(scales, scales, 3, 3, 3, 3);
    u = madd(f32x4.convert_i32x4_s(dot4(w, x)), s0, u);
    v = madd(f32x4.convert_i32x4_s(dot4(w + 16, x + 64)), s1, v);
    u = madd(f32x4.convert_i32x4_s(dot4(w + 32, x + 128)), s2, u);
    v = madd(f32x4.convert_i32x4_s(dot4(w + 48, x + 192)), s3, v);
    w += 64;
    s += 8;
    x += 256;
    xScales += 16;
    sums += 16;
  }
  let rest: f32 = 0;
  for (; block < blocks; block++) {
    const own = halfToFloat(s);
    u = madd(f32x4.convert_i32x4_s(dot4(w, x)), f32x4.splat(own * load<f32>(xScales)), u);
    rest += own * load<f32>(sums);
    w += 16;
    s += 2;
    x += 64;
    xScales += 4;
    sums += 4;
  }
  return sumLanes(f32x4.sub(f32x4.add(u, v), excess)) - rest;
}

/** [y +] alpha * dot [+ bias]. */
function put(y: usize, dot: f32, alpha: f32, accumulate: bool, bias: usize): void {
  dot *= alpha;
  if (accumulate) dot = load<f32>(y) + dot;
  if (bias) dot += load<f32>(bias);
  store<f32>(y, dot);
}

// @ts-ignore: decorator
@inline
function dotCodes(a: v128, b: v128, c: v128, d: v128, x: usize): v128 {
  return i32x4.add(
    i32x4.add(i32x4.dot_i16x8_s(a, v128.load(x)), i32x4.dot_i16x8_s(b, v128.load(x, 16))),
    i32x4.add(i32x4.dot_i16x8_s(c, v128.load(x, 32)), i32x4.dot_i16x8_s(d, v128.load(x, 48))),
  );
}

// @ts-ignore: decorator
@inline
function scaled(sums: v128, scale: v128, xScale: usize, total: v128): v128 {
  return madd(f32x4.convert_i32x4_s(sums), f32x4.mul(scale, v128.load32_splat(xScale)), total);
}

/** A row of codes times four rows of x; codes are unpacked once. */
function fourRows(
  w: usize,
  s: usize,
  x: usize,
  xScales: usize,
  blocks: i32,
  fourBits: bool,
  alpha: f32,
  y: usize,
  ldy: usize,
  accumulate: bool,
  bias: usize,
): void {
  const step = <usize> blocks << 6, scaleStep = <usize> blocks << 2;
  const mask = i8x16.splat(15), eight = i8x16.splat(8);
  let f0 = f32x4.splat(0), f1 = f0, f2 = f0, f3 = f0;
  for (let block = 0; block < blocks; block++) {
    let a: v128, b: v128, c: v128, d: v128;
    if (fourBits) {
      const pairs = v128.load(w);
      const low = i8x16.sub(v128.and(pairs, mask), eight);
      const high = i8x16.sub(v128.and(i16x8.shr_u(pairs, 4), mask), eight);
      a = i16x8.extend_low_i8x16_s(low);
      b = i16x8.extend_high_i8x16_s(low);
      c = i16x8.extend_low_i8x16_s(high);
      d = i16x8.extend_high_i8x16_s(high);
      w += 16;
    } else {
      a = v128.load8x8_s(w);
      b = v128.load8x8_s(w, 8);
      c = v128.load8x8_s(w, 16);
      d = v128.load8x8_s(w, 24);
      w += 32;
    }
    const scale = widen(i32x4.splat(load<u16>(s)));
    f0 = scaled(dotCodes(a, b, c, d, x), scale, xScales, f0);
    f1 = scaled(dotCodes(a, b, c, d, x + step), scale, xScales + scaleStep, f1);
    f2 = scaled(dotCodes(a, b, c, d, x + 2 * step), scale, xScales + 2 * scaleStep, f2);
    f3 = scaled(dotCodes(a, b, c, d, x + 3 * step), scale, xScales + 3 * scaleStep, f3);
    s += 2;
    x += 64;
    xScales += 4;
  }
  put(y, sumLanes(f0), alpha, accumulate, bias);
  put(y + ldy, sumLanes(f1), alpha, accumulate, bias);
  put(y + 2 * ldy, sumLanes(f2), alpha, accumulate, bias);
  put(y + 3 * ldy, sumLanes(f3), alpha, accumulate, bias);
}

/**
 * Columns [start, end) of C = [C +] alpha X W^T [+ bias]: X (m rows of blocks) from `rows_to_i16`, W one row of codes
 * per column, of 4 bits if `small`, otherwise of 8. `byFours`: four rows may be processed together, which sums in
 * another order.
 */
// @ts-ignore: decorator
@inline
function multiply(
  small: bool,
  start: i32,
  end: i32,
  m: i32,
  blocks: i32,
  byFours: bool,
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
  for (let column = start; column < end; column++) {
    const j = <usize> column;
    const codes = w + j * <usize> (blocks << (small ? 4 : 5)), scales = s + j * <usize> (blocks << 1);
    const own = bias ? bias + (j << 2) : 0;
    let row: usize = 0;
    for (; byFours && row + 4 <= <usize> m; row += 4) {
      const first = row * <usize> blocks, y = c + (row * ldc + j << 2);
      // deno-fmt-ignore
      fourRows(codes, scales, x + (first << 6), xScales + (first << 2), blocks, small, alpha, y, ldc << 2, accumulate, own);
    }
    for (; row < <usize> m; row++) {
      const first = row * <usize> blocks, four = first << 2;
      const dot = small
        ? rowDot4(codes, scales, x + (first << 6), xScales + four, sums + four, blocks)
        : rowDot8(codes, scales, x + (first << 6), xScales + four, blocks);
      put(c + (row * ldc + j << 2), dot, alpha, accumulate, own);
    }
  }
}

export function multiply_q8_0(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  blocks: i32,
  byFours: bool,
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
  multiply(false, start, end, m, blocks, byFours, alpha, x, xScales, sums, w, s, c, ldc, accumulate, bias);
}

export function multiply_q4_0(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  blocks: i32,
  byFours: bool,
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
  multiply(true, start, end, m, blocks, byFours, alpha, x, xScales, sums, w, s, c, ldc, accumulate, bias);
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
  const mask = i8x16.splat(15), eight = i8x16.splat(8);
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
