// Conversions between f16 and f32, for which WebAssembly has no instructions, over elements [start, end).

import { lanes } from "./layout.as";

const MAGNITUDE = memory.data<i32>([0x7fff]);
const SIGN = memory.data<i32>([0x8000]);
/** The exponents' bias is 127 instead of 15. */
const BIAS = memory.data<i32>([112 << 23]);
const SMALLEST = memory.data<i32>([0x33800000]); // 2^-24
const LEAST_NORMAL = memory.data<i32>([0x0400]);
const GREATEST = memory.data<i32>([0x7bff]);
const EXPONENT = memory.data<i32>([0x7f800000]);

/** Four f32 of finite f16 in the low halves of four lanes, whose other halves are 0. */
// @ts-ignore: decorator
@inline
export function widenFinite(half: v128): v128 {
  const sign = v128.and(half, lanes(SIGN)), magnitude = v128.xor(half, sign);
  const normal = i32x4.add(i32x4.shl(magnitude, 13), lanes(BIAS));
  // Multiples of 2^-24 without arithmetic on numbers that are subnormal in f32, which takes processors a hundred cycles.
  const small = f32x4.mul(f32x4.convert_i32x4_s(magnitude), lanes(SMALLEST));
  const value = v128.bitselect(small, normal, i32x4.lt_s(magnitude, lanes(LEAST_NORMAL)));
  return v128.or(value, i32x4.shl(sign, 16));
}

/** The same for any f16. */
// @ts-ignore: decorator
@inline
export function widen(half: v128): v128 {
  // Infinity and NaN, whose exponent is all ones in both.
  const special = i32x4.gt_s(v128.and(half, lanes(MAGNITUDE)), lanes(GREATEST));
  return v128.or(widenFinite(half), v128.and(special, lanes(EXPONENT)));
}

const MAGNITUDE32 = memory.data<i32>([0x7fffffff]);
const ONE = memory.data<i32>([1]);
/** Rounds at the last bit that is kept, and changes the exponent's bias: 0xc8000000 is (15 - 127) << 23. */
const ROUNDING = memory.data<i32>([0xc8000fff]);
const HALF = memory.data<f32>([0.5]);
const NAN16 = memory.data<i32>([0x7e00]);
const INFINITY16 = memory.data<i32>([0x7c00]);
const NORMAL32 = memory.data<i32>([113 << 23]); // 2^-14
const BELOW_INFINITY16 = memory.data<i32>([0x477fffff]); // the f32 below 65,536

/** Four f16 in the low halves of four lanes, rounded to nearest even. */
function narrow(x: v128): v128 {
  const magnitude = v128.and(x, lanes(MAGNITUDE32));
  const sign = i32x4.shr_u(v128.xor(x, magnitude), 16);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), lanes(ONE));
  const rounded = i32x4.add(magnitude, i32x4.add(odd, lanes(ROUNDING)));
  // Below 2^-14, adding 0.5 rounds at 2^-24, the step of f16 there.
  const half = lanes(HALF);
  const small = i32x4.sub(f32x4.add(magnitude, half), half);
  const special = v128.bitselect(
    lanes(NAN16),
    lanes(INFINITY16),
    i32x4.gt_s(magnitude, lanes(EXPONENT)),
  );
  const isSmall = i32x4.lt_s(magnitude, lanes(NORMAL32));
  const isSpecial = i32x4.gt_s(magnitude, lanes(BELOW_INFINITY16));
  const finite = v128.bitselect(small, i32x4.shr_u(rounded, 13), isSmall);
  return v128.or(v128.bitselect(special, finite, isSpecial), sign);
}

/** y (f32) = x (f16). */
export function f16_to_f32(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const halves = v128.load(x + (<usize> i << 1));
    const to = y + (<usize> i << 2);
    v128.store(to, widen(i32x4.extend_low_i16x8_u(halves)));
    v128.store(to, widen(i32x4.extend_high_i16x8_u(halves)), 16);
  }
  for (; i < end; i++) {
    v128.store32_lane(y + (<usize> i << 2), widen(i32x4.splat(load<u16>(x + (<usize> i << 1)))), 0);
  }
}

/** y (f16) = x (f32), rounded to nearest even. */
export function f32_to_f16(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const from = x + (<usize> i << 2);
    v128.store(
      y + (<usize> i << 1),
      i16x8.narrow_i32x4_u(narrow(v128.load(from)), narrow(v128.load(from, 16))),
    );
  }
  for (; i < end; i++) {
    v128.store16_lane(y + (<usize> i << 1), narrow(v128.load32_zero(x + (<usize> i << 2))), 0);
  }
}
