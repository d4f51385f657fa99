/**
 * Element types that tensors and kernels know.
 *
 * @module
 */

/** The type of a tensor's elements. `f16` exists where the device has it. */
export type DType = "f32" | "f16" | "i32" | "u32";

/** The JavaScript array that holds elements of some {@linkcode DType}. */
export type TypedArray = Float32Array | Float16Array | Int32Array | Uint32Array;

/** Bytes of one element. */
export const BYTES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, i32: 4, u32: 4 };

const arrays = { f32: Float32Array, f16: Float16Array, i32: Int32Array, u32: Uint32Array };

/** A typed array of `length` elements over `buffer`, from byte `byteOffset` on. */
export function viewOf(
  dtype: DType,
  buffer: ArrayBufferLike,
  byteOffset: number,
  length: number,
): TypedArray {
  // The constructors' types know ArrayBuffer only; they take shared ones all the same.
  return new arrays[dtype](buffer as ArrayBuffer, byteOffset, length);
}

/** A new typed array of zeros, or of a list of numbers, converted as JavaScript's typed arrays convert. */
export function arrayOf(dtype: DType, values: ArrayLike<number> | number): TypedArray {
  return new arrays[dtype](values as number);
}

/** The element type of a typed array; throws a `TypeError` for any other array. */
export function dtypeOf(array: ArrayBufferView): DType {
  if (array instanceof Float32Array) return "f32";
  if (array instanceof Int32Array) return "i32";
  if (array instanceof Uint32Array) return "u32";
  if (array instanceof Float16Array) return "f16";
  throw new TypeError(
    `dtypeOf: expected a Float32Array, Float16Array, Int32Array or Uint32Array but got ${array.constructor.name}`,
  );
}

/** True for the types that can carry a gradient. */
export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16";
}
