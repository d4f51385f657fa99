/**
 * The dtypes of tensors and kernels.
 *
 * @module
 */
import { dequantised, quantisedBytes, type QuantisedType } from "./quantised.ts";

export type { QuantisedType };

/** The type of a tensor's elements. `f16` is available if the device supports it. */
export type DType = "f32" | "f16" | "i32" | "u32" | QuantisedType;

/** A JavaScript array that holds elements of a {@linkcode DType}. */
export type TypedArray = Float32Array | Float16Array | Int32Array | Uint32Array;

/** The bytes of one element; for a quantised one, including its share of the scale. */
export const BYTES: Readonly<Record<DType, number>> = {
  ...{ f32: 4, f16: 2, i32: 4, u32: 4 },
  ...{ q8_0: 34 / 32, q4_0: 18 / 32 },
};

/** The bytes of memory that `size` elements take. */
export function bytesOf(dtype: DType, size: number): number {
  return isQuantised(dtype) ? quantisedBytes(dtype, size) : size * BYTES[dtype];
}

/** The lowest and the highest integer of a dtype. */
export const INTEGER_RANGES: Readonly<Record<string, readonly [lowest: number, highest: number]>> =
  {
    i32: [-(2 ** 31), 2 ** 31 - 1],
    u32: [0, 2 ** 32 - 1],
  };

const arrays = { f32: Float32Array, f16: Float16Array, i32: Int32Array, u32: Uint32Array };

/**
 * A typed array of `length` elements over `buffer`, starting at `byteOffset`; quantised elements as a copy in float32.
 */
export function viewOf(
  dtype: DType,
  buffer: ArrayBufferLike,
  byteOffset: number,
  length: number,
): TypedArray {
  if (isQuantised(dtype)) {
    const memory = new Uint8Array(buffer, byteOffset, quantisedBytes(dtype, length));
    return dequantised(dtype, memory, length);
  }
  // The constructors are typed for ArrayBuffer only, but accept shared ones as well.
  return new arrays[dtype](buffer as ArrayBuffer, byteOffset, length);
}

/** A new typed array of zeros, or of a list of numbers, converted like JavaScript's typed arrays do. */
export function arrayOf(dtype: DType, values: ArrayLike<number> | number): TypedArray {
  const made = arrays[dtype as keyof typeof arrays];
  if (made) return new made(values as number);
  const origin = isQuantised(dtype) ? ", which quantize makes of f32" : "";
  throw new TypeError(`dtype: expected f32, f16, i32 or u32 but got ${dtype}${origin}`);
}

/** The dtype of a typed array. Throws a `TypeError` for any other array. */
export function dtypeOf(array: ArrayBufferView): DType {
  if (array instanceof Float32Array) return "f32";
  if (array instanceof Int32Array) return "i32";
  if (array instanceof Uint32Array) return "u32";
  if (array instanceof Float16Array) return "f16";
  throw new TypeError(
    `dtypeOf: expected a Float32Array, Float16Array, Int32Array or Uint32Array but got ${array.constructor.name}`,
  );
}

/** Whether a dtype is quantised, for matrices that are only multiplied with. */
export function isQuantised(dtype: DType): dtype is QuantisedType {
  return dtype === "q8_0" || dtype === "q4_0";
}

/** Whether a dtype can carry a gradient. */
export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16";
}
