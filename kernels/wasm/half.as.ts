// Conversions between f16 and f32, for which WebAssembly has no instructions, over elements [start, end).

/** Four f32 of the f16 in the low halves of four lanes. */
// @ts-ignore: decorator
@inline
export function widen(half: v128): v128 {
  const magnitude = v128.and(half, i32x4.splat(0x7fff));
  // The exponent's bias is 127 instead of 15.
  const normal = i32x4.add(i32x4.shl(magnitude, 13), i32x4.splat(112 << 23));
  // Multiples of 2^-24 without arithmetic on numbers that are subnormal in f32, which takes processors a hundred cycles.
  const small = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(reinterpret<f32>(0x33800000)));
  const value = v128.bitselect(small, normal, i32x4.lt_s(magnitude, i32x4.splat(0x0400)));
  // Infinity and NaN, whose exponent is all ones in both.
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7bff)), i32x4.splat(0x7f800000));
  const sign = i32x4.shl(v128.and(half, i32x4.splat(0x8000)), 16);
  return v128.or(v128.or(value, sign), special);
}

/** Four f16 in the low halves of four lanes, rounded to nearest even. */
function narrow(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = i32x4.shr_u(v128.xor(x, magnitude), 16);
  // Rounds at the last bit that is kept, and changes the exponent's bias: 0xc8000000 is (15 - 127) << 23.
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const rounded = i32x4.add(magnitude, i32x4.add(odd, i32x4.splat(0xc8000000 + 0xfff)));
  // Below 2^-14, adding 0.5 rounds at 2^-24, the step of f16 there.
  const half = f32x4.splat(0.5);
  const small = i32x4.sub(f32x4.add(magnitude, half), half);
  const special = v128.bitselect(
    i32x4.splat(0x7e00),
    i32x4.splat(0x7c00),
    i32x4.gt_s(magnitude, i32x4.splat(0x7f800000)),
  );
  const isSmall = i32x4.lt_s(magnitude, i32x4.splat(113 << 23));
  const isSpecial = i32x4.gt_s(magnitude, i32x4.splat(0x477fffff)); // from 65,536 on
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
