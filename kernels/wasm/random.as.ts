// Counter-based random numbers, Philox 4x32-10 (see kernels/philox.ts): four blocks of four numbers at a time.

import { lanes, scratch } from "./layout.as";
import { madd, vlog } from "./math.as";

const MULTIPLIER0 = memory.data<i32>([0xD2511F53]);
const MULTIPLIER1 = memory.data<i32>([0xCD9E8D57]);

/** The elements of a run: four blocks. */
const RUN = 16;

/** The lower halves of the 64-bit products of a with four lanes. */
function low(a: v128, b: v128): v128 {
  return i32x4.mul(a, b);
}

/** The upper halves. */
function high(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(
    i64x2.extmul_low_i32x4_u(a, b),
    i64x2.extmul_high_i32x4_u(a, b),
    1,
    3,
    5,
    7,
  );
}

/** Writes the 16 numbers of the four blocks from `index` on, relative to the launch's first block. */
function draw(out: usize, index: i32, k0: i32, k1: i32, blockLow: i32, blockHigh: i32): void {
  const m0 = lanes(MULTIPLIER0), m1 = lanes(MULTIPLIER1);
  const first = i32x4.splat(blockLow);
  let c0 = i32x4.add(first, i32x4.add(i32x4.splat(index), i32x4(0, 1, 2, 3)));
  // A lane that wrapped around is less than where it started; the comparison gives -1 there, which is subtracted as a
  // carry.
  let c1 = i32x4.sub(i32x4.splat(blockHigh), i32x4.lt_u(c0, first));
  let c2 = i32x4.splat(0), c3 = c2;
  for (let round = 0; round < 10; round++) {
    const high0 = high(m0, c0), high1 = high(m1, c2);
    const low0 = low(m0, c0), low1 = low(m1, c2);
    c0 = v128.xor(v128.xor(high1, c1), i32x4.splat(k0));
    c1 = low1;
    c2 = v128.xor(v128.xor(high0, c3), i32x4.splat(k1));
    c3 = low0;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  // A lane has the four numbers of a block; in memory they are consecutive.
  const a = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5), b = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
  const c = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7), d = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<i64>(a, b, 0, 2));
  v128.store(out, v128.shuffle<i64>(a, b, 1, 3), 16);
  v128.store(out, v128.shuffle<i64>(c, d, 0, 2), 32);
  v128.store(out, v128.shuffle<i64>(c, d, 1, 3), 48);
}

/**
 * For the elements of a row from the beginning of block `index` on: 0 where the random number is below p, otherwise
 * scale. Writes n, rounded up to 16.
 */
export function dropoutFactors(
  out: usize,
  n: i32,
  index: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  p: f32,
  scale: f32,
): void {
  const least = f32x4.splat(p), factor = f32x4.splat(scale), step = f32x4.splat(1.0 / 16777216.0);
  for (let i = 0; i < n; i += RUN) {
    const at = out + (<usize> i << 2);
    draw(at, index + (i >> 2), seedLow, seedHigh, blockLow, blockHigh);
    for (let j: usize = 0; j < 64; j += 16) {
      const number = f32x4.convert_i32x4_u(i32x4.shr_u(v128.load(at + j), 8));
      v128.store(at + j, v128.and(f32x4.ge(f32x4.mul(number, step), least), factor));
    }
  }
}

/** Runs [start, end) of 16 elements each: y = x * scale where the random number is at least p, otherwise 0. */
export function dropout(
  thread: i32,
  start: i32,
  end: i32,
  count: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  p: f32,
  scale: f32,
  x: usize,
  y: usize,
): void {
  const factors = scratch(thread);
  for (let run = start; run < end; run++) {
    dropoutFactors(factors, RUN, run << 2, seedLow, seedHigh, blockLow, blockHigh, p, scale);
    const first = run * RUN, last = min(count, first + RUN);
    let i = first;
    for (; i + 4 <= last; i += 4) {
      const at = <usize> i << 2, factor = v128.load(factors + (<usize> (i - first) << 2));
      const kept = f32x4.gt(factor, f32x4.splat(0));
      v128.store(y + at, v128.and(kept, f32x4.mul(v128.load(x + at), factor)));
    }
    for (; i < last; i++) {
      const at = <usize> i << 2, factor = load<f32>(factors + (<usize> (i - first) << 2));
      store<f32>(y + at, factor > 0 ? load<f32>(x + at) * factor : 0);
    }
  }
}

/** Coefficients of the normal distribution's quantile function near the median and in its tails; see `random_fill.ts`. */
const CENTRE = memory.data<f32>([
  2.81022636e-08,
  3.43273939e-07,
  -3.5233877e-06,
  -4.39150654e-06,
  0.00021858087,
  -0.00125372503,
  -0.00417768164,
  0.246640727,
  1.50140941,
]);
const TAIL = memory.data<f32>([
  -0.000200214257,
  0.000100950558,
  0.00134934322,
  -0.00367342844,
  0.00573950773,
  -0.0076224613,
  0.00943887047,
  1.00167406,
  2.83297682,
]);

function polynomial(coefficients: usize, t: v128): v128 {
  let p = lanes(coefficients);
  for (let i: usize = 4; i < 36; i += 4) p = madd(p, t, lanes(coefficients + i));
  return p;
}

/** The quantile function of the normal distribution at u in (0, 1). */
function normalQuantile(u: v128): v128 {
  const one = f32x4.splat(1), five = f32x4.splat(5);
  const w = f32x4.neg(vlog(f32x4.mul(f32x4.mul(f32x4.splat(4), u), f32x4.sub(one, u))));
  let p = polynomial(CENTRE, f32x4.sub(w, f32x4.splat(2.5)));
  const inTail = f32x4.ge(w, five);
  if (v128.any_true(inTail)) {
    const tail = polynomial(TAIL, f32x4.sub(f32x4.sqrt(w), f32x4.splat(3)));
    p = v128.bitselect(tail, p, inTail);
  }
  const x = f32x4.sub(f32x4.add(u, u), one);
  return f32x4.mul(f32x4.mul(f32x4.splat(1.41421356), p), x);
}

/** Runs [start, end) of 16 elements each: y = shift + scale * number, uniform in [0, 1) or standard normal. */
export function random_fill(
  thread: i32,
  start: i32,
  end: i32,
  count: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  normal: bool,
  shift: f32,
  scale: f32,
  y: usize,
): void {
  const bits = scratch(thread);
  for (let run = start; run < end; run++) {
    draw(bits, run << 2, seedLow, seedHigh, blockLow, blockHigh);
    for (let i: usize = 0; i < 64; i += 16) {
      const drawn = v128.load(bits + i);
      let value: v128;
      if (normal) {
        const steps = f32x4.convert_i32x4_u(i32x4.shr_u(drawn, 9));
        value = normalQuantile(
          f32x4.mul(f32x4.add(steps, f32x4.splat(0.5)), f32x4.splat(1.0 / 8388608.0)),
        );
      } else {
        const steps = f32x4.convert_i32x4_u(i32x4.shr_u(drawn, 8));
        value = f32x4.mul(steps, f32x4.splat(1.0 / 16777216.0));
      }
      v128.store(bits + i, f32x4.add(f32x4.splat(shift), f32x4.mul(f32x4.splat(scale), value)));
    }
    const first = run * RUN;
    memory.copy(y + (<usize> first << 2), bits, <usize> min(RUN, count - first) << 2);
  }
}
