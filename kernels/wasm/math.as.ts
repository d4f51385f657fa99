// Transcendental functions of four lanes. Constants are loaded from a table, since V8 rebuilds a `v128.const` in
// every iteration of a loop. `f32x4.pmin(x, y)` is y < x ? y : x, so NaN in x is kept; the limit is y.

const LOG2E = 0;

const ROUND = 1; // 1.5 * 2^23: adding it rounds to an integer, which is in the low bits

const LN2_HIGH = 2;

const LN2_LOW = 3;

const EXP_MAX = 4;

const EXP_MIN = 5;

const EXP_POLY = 6; // 6 coefficients, then 1

const ONE = 12;

const NEGATIVE_MIN = 13;

const LOG_POLY = 14; // 9 coefficients

const SQRT_HALF = 23;

const HALF = 24;

const LOG_LN2_LOW = 25;

const LOG_LN2_HIGH = 26;

const TANH_MAX = 27;

const TANH_P = 28; // 7 odd coefficients, highest first

const TANH_Q = 35; // 4 even coefficients, highest first

const ERF_MAX = 39;

const ERF_P = 40; // 7

const ERF_Q = 47; // 5

const GELU_CUBE = 52; // 0.044715

const GELU_SCALE = 53; // -2 sqrt(2 / pi)

const SQRT_HALF_EXACT = 54;

const GELU_CUBE3 = 55; // 3 * 0.044715

const NORMAL = 56; // 1 / sqrt(2 pi)

const TANH_SMALL = 57;

const GELU_LIMIT = 58;

const TABLE: usize = memory.data<f32>([
  1.44269504088896341,
  12582912,
  0.693359375,
  -2.12194440e-4,
  89,
  -104,
  1.9875691500e-4,
  1.3981999507e-3,
  8.3334519073e-3,
  4.1665795894e-2,
  1.6666665459e-1,
  5.0000001201e-1,
  1,
  -87.33654,
  7.0376836292e-2,
  -1.1514610310e-1,
  1.1676998740e-1,
  -1.2420140846e-1,
  1.4249322787e-1,
  -1.6668057665e-1,
  2.0000714765e-1,
  -2.4999993993e-1,
  3.3333331174e-1,
  0.70710678118654752,
  0.5,
  -2.12194440e-4,
  0.693359375,
  7.90531110763549805,
  -2.76076847742355e-16,
  2.00018790482477e-13,
  -8.60467152213735e-11,
  5.12229709037114e-8,
  1.48572235717979e-5,
  6.37261928875436e-4,
  4.89352455891786e-3,
  1.19825839466702e-6,
  1.18534705686654e-4,
  2.26843463243900e-3,
  4.89352518554385e-3,
  4,
  -2.72614225801306e-10,
  2.77068142495902e-8,
  -2.10102402082508e-6,
  -5.69250639462346e-5,
  -7.34990630326855e-4,
  -2.95459980854025e-3,
  -1.60960333262415e-2,
  -1.45660718464996e-5,
  -2.13374055278905e-4,
  -1.68282697438203e-3,
  -7.37332916720468e-3,
  -1.42647390514189e-2,
  0.044715,
  -1.5957691216057308,
  0.70710678118654752,
  0.134145,
  0.39894228040143268,
  4e-4,
  80,
], 16);

/** A constant in all four lanes. */

function k(index: i32): v128 {
  return v128.load32_splat(TABLE + (<usize> index << 2));
}

/** a * b + c, fused if the hardware can. */

export function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

/** The polynomial of exp on [-ln 2 / 2, ln 2 / 2]. */

function expPoly(r: v128): v128 {
  let p = k(EXP_POLY);
  p = madd(p, r, k(EXP_POLY + 1));
  p = madd(p, r, k(EXP_POLY + 2));
  p = madd(p, r, k(EXP_POLY + 3));
  p = madd(p, r, k(EXP_POLY + 4));
  p = madd(p, r, k(EXP_POLY + 5));
  return f32x4.add(madd(p, f32x4.mul(r, r), r), k(ONE));
}

/** e^x for every x: inf above 88.73, subnormal and then 0 for very negative x, NaN for NaN. */

export function vexp(x: v128): v128 {
  x = f32x4.pmax(f32x4.pmin(x, k(EXP_MAX)), k(EXP_MIN));
  const t = madd(x, k(LOG2E), k(ROUND));
  const n = f32x4.sub(t, k(ROUND));
  let r = f32x4.relaxed_nmadd(n, k(LN2_HIGH), x);
  r = f32x4.relaxed_nmadd(n, k(LN2_LOW), r);
  // Two factors of 2^(n/2), since 2^128 and 2^-150 are not representable.
  const e = i32x4.sub(t, k(ROUND));
  const half = i32x4.shr_s(e, 1);
  const one = k(ONE);
  const low = i32x4.add(i32x4.shl(half, 23), one);
  const high = i32x4.add(i32x4.shl(i32x4.sub(e, half), 23), one);
  return f32x4.mul(f32x4.mul(expPoly(r), low), high);
}

/** e^x for x <= 0 (softmax after subtracting the maximum): results below 1.2e-38 are 0, NaN is kept. */

export function vexpNegative(x: v128): v128 {
  const t = madd(x, k(LOG2E), k(ROUND));
  const n = f32x4.sub(t, k(ROUND));
  let r = f32x4.relaxed_nmadd(n, k(LN2_HIGH), x);
  r = f32x4.relaxed_nmadd(n, k(LN2_LOW), r);
  const scale = i32x4.add(i32x4.shl(t, 23), k(ONE));
  return v128.andnot(f32x4.mul(expPoly(r), scale), f32x4.lt(x, k(NEGATIVE_MIN)));
}

/** The natural logarithm of every x: -inf at 0, NaN below, inf at inf. */

export function vlog(x: v128): v128 {
  const tiny = f32x4.lt(x, f32x4.splat(1.17549435e-38));
  const scaled = v128.bitselect(f32x4.mul(x, f32x4.splat(8388608)), x, tiny);
  let e = f32x4.convert_i32x4_s(i32x4.sub(i32x4.shr_u(scaled, 23), i32x4.splat(126)));
  e = f32x4.sub(e, v128.and(tiny, f32x4.splat(23)));
  let m = v128.or(
    v128.and(scaled, i32x4.splat(0x007fffff)),
    i32x4.splat(0x3f000000),
  );
  const low = f32x4.lt(m, k(SQRT_HALF));
  e = f32x4.sub(e, v128.and(low, k(ONE)));
  m = f32x4.sub(f32x4.add(m, v128.and(low, m)), k(ONE));
  const z = f32x4.mul(m, m);
  let p = k(LOG_POLY);
  p = madd(p, m, k(LOG_POLY + 1));
  p = madd(p, m, k(LOG_POLY + 2));
  p = madd(p, m, k(LOG_POLY + 3));
  p = madd(p, m, k(LOG_POLY + 4));
  p = madd(p, m, k(LOG_POLY + 5));
  p = madd(p, m, k(LOG_POLY + 6));
  p = madd(p, m, k(LOG_POLY + 7));
  p = madd(p, m, k(LOG_POLY + 8));
  let y = f32x4.mul(f32x4.mul(m, z), p);
  y = madd(e, k(LOG_LN2_LOW), y);
  y = f32x4.sub(y, f32x4.mul(k(HALF), z));
  y = madd(e, k(LOG_LN2_HIGH), f32x4.add(m, y));
  const zero = f32x4.splat(0), infinity = f32x4.splat(Infinity);
  y = v128.bitselect(x, y, f32x4.eq(x, infinity));
  y = v128.bitselect(f32x4.splat(-Infinity), y, f32x4.eq(x, zero));
  return v128.bitselect(y, f32x4.splat(NaN), f32x4.ge(x, zero));
}

/** Hyperbolic tangent: a rational function within +-7.9, where it rounds to 1 in float32. */

export function vtanh(x: v128): v128 {
  const limit = k(TANH_MAX);
  const small = f32x4.lt(f32x4.abs(x), k(TANH_SMALL));
  const c = f32x4.pmax(f32x4.pmin(x, limit), f32x4.neg(limit));
  const z = f32x4.mul(c, c);
  let p = k(TANH_P);
  p = madd(p, z, k(TANH_P + 1));
  p = madd(p, z, k(TANH_P + 2));
  p = madd(p, z, k(TANH_P + 3));
  p = madd(p, z, k(TANH_P + 4));
  p = madd(p, z, k(TANH_P + 5));
  p = madd(p, z, k(TANH_P + 6));
  let q = k(TANH_Q);
  q = madd(q, z, k(TANH_Q + 1));
  q = madd(q, z, k(TANH_Q + 2));
  q = madd(q, z, k(TANH_Q + 3));
  return v128.bitselect(x, f32x4.div(f32x4.mul(c, p), q), small);
}

/** Error function: a rational function within +-4, where it rounds to 1 in float32. */

export function verf(x: v128): v128 {
  const limit = k(ERF_MAX);
  x = f32x4.pmax(f32x4.pmin(x, limit), f32x4.neg(limit));
  const z = f32x4.mul(x, x);
  let p = k(ERF_P);
  p = madd(p, z, k(ERF_P + 1));
  p = madd(p, z, k(ERF_P + 2));
  p = madd(p, z, k(ERF_P + 3));
  p = madd(p, z, k(ERF_P + 4));
  p = madd(p, z, k(ERF_P + 5));
  p = madd(p, z, k(ERF_P + 6));
  let q = k(ERF_Q);
  q = madd(q, z, k(ERF_Q + 1));
  q = madd(q, z, k(ERF_Q + 2));
  q = madd(q, z, k(ERF_Q + 3));
  q = madd(q, z, k(ERF_Q + 4));
  return f32x4.div(f32x4.mul(x, p), q);
}

/** 1 / (1 + e^-x). */

export function vsigmoid(x: v128): v128 {
  const one = k(ONE);
  return f32x4.div(one, f32x4.add(one, vexp(f32x4.neg(x))));
}

/** e^(-2u) for u = sqrt(2/pi) (x + 0.044715 x^3), kept finite: (1 + tanh u) / 2 is 1 / (1 + e^(-2u)). */

function geluExp(x: v128): v128 {
  const cubed = f32x4.mul(f32x4.mul(x, x), x);
  const u = madd(cubed, k(GELU_CUBE), x);
  return vexp(f32x4.pmin(f32x4.mul(u, k(GELU_SCALE)), k(GELU_LIMIT)));
}

/** x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), without the cancellation of 1 + tanh on the negative side. */

export function vgeluTanh(x: v128): v128 {
  return f32x4.div(x, f32x4.add(k(ONE), geluExp(x)));
}

/** The derivative of {@link vgeluTanh}. */

export function vgeluTanhSlope(x: v128): v128 {
  // For large |x| the slope is 0 or 1, and the squares below would overflow.
  const limit = f32x4.splat(20);
  x = f32x4.pmax(f32x4.pmin(x, limit), f32x4.neg(limit));
  const one = k(ONE), e = geluExp(x);
  const s = f32x4.div(one, f32x4.add(one, e));
  // e s is 1 - s without cancellation; GELU_SCALE is negative.
  const inner = f32x4.mul(madd(f32x4.mul(x, x), k(GELU_CUBE3), one), k(GELU_SCALE));
  const rest = f32x4.mul(f32x4.mul(f32x4.mul(x, inner), s), f32x4.mul(e, s));
  return f32x4.sub(s, rest);
}

/** x/2 (1 + erf(x / sqrt 2)), the exact GELU. */

export function vgeluErf(x: v128): v128 {
  const e = verf(f32x4.mul(x, k(SQRT_HALF_EXACT)));
  return f32x4.mul(f32x4.mul(x, k(HALF)), f32x4.add(k(ONE), e));
}

/** The derivative of {@link vgeluErf}: the normal distribution function plus x times its density. */

export function vgeluErfSlope(x: v128): v128 {
  const half = k(HALF);
  const e = verf(f32x4.mul(x, k(SQRT_HALF_EXACT)));
  const density = f32x4.mul(vexp(f32x4.mul(f32x4.mul(x, x), f32x4.neg(half))), k(NORMAL));
  return f32x4.add(f32x4.mul(half, f32x4.add(k(ONE), e)), f32x4.mul(x, density));
}

/** The derivative of x * sigmoid(x). */

export function vsiluSlope(x: v128): v128 {
  const one = k(ONE), s = vsigmoid(x);
  return f32x4.mul(s, madd(x, f32x4.sub(one, s), one));
}

/** The sum of four lanes. */

export function sumLanes(v: v128): f32 {
  return (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 2)) +
    (f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 3));
}

/** The largest of four lanes; NaN if any is. */

export function maxLanes(v: v128): f32 {
  const w = f32x4.max(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.max(w, v128.shuffle<f32>(w, w, 1, 0, 3, 2)), 0);
}

/**
 * The largest of n floats at x; NaN if any is, -inf if n is 0. NaNs are detected separately: a maximum that keeps
 * them costs half a dozen dependent instructions on x86.
 */
export function largest(x: usize, n: i32): f32 {
  let u = f32x4.splat(-Infinity), v = u;
  let nan = f32x4.splat(0);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const a = v128.load(x + (<usize> i << 2)), b = v128.load(x + (<usize> i << 2), 16);
    u = f32x4.pmax(u, a);
    v = f32x4.pmax(v, b);
    nan = v128.or(nan, v128.or(f32x4.ne(a, a), f32x4.ne(b, b)));
  }
  let best = maxLanes(f32x4.pmax(u, v));
  for (; i < n; i++) best = max<f32>(best, load<f32>(x + (<usize> i << 2)));
  return v128.any_true(nan) ? <f32> NaN : best;
}
