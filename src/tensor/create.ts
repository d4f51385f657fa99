/**
 * Tensors from numbers.
 *
 * @module
 */
import { fill } from "../../kernels/elementwise/fill.ts";
import { defaultDevice } from "../device/default.ts";
import type { Device } from "../device/device.ts";
import { arrayOf, BYTES, type DType, dtypeOf, isFloat, type TypedArray } from "../device/dtype.ts";
import { checkShape, formatShape, type Shape, sizeOf } from "./shape.ts";
import { Tensor } from "./tensor.ts";

/** Numbers or booleans in arrays in arrays. */
export type NestedValues = number | boolean | readonly NestedValues[];

/** Typed arrays of elements that no tensor has, as `.npy` files may hold them. */
export type ForeignArray =
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | BigInt64Array
  | BigUint64Array;

/** The device and the element type of a new tensor. */
export interface CreateOptions {
  /** The device; default: the one opened first (see `openDevice`). */
  readonly device?: Device | undefined;
  /** The element type; default: the data's own, or `f32`. */
  readonly dtype?: DType | undefined;
}

/** Options of {@linkcode tensor}. */
export interface TensorOptions extends CreateOptions {
  /** The shape; default: that of the nested arrays, or one axis. */
  readonly shape?: Shape;
}

/**
 * A tensor of the given values: a number, nested arrays, or a typed array. Where no dtype is asked for, nested arrays of
 * numbers give `f32`, booleans `u32` (0 and 1, as comparisons do), `Float32Array` `f32`, `Float16Array` `f16`, `Int32Array` `i32`,
 * `Uint32Array` `u32`, other arrays of floats `f32` and other arrays of integers `i32`. Fractions are cut towards zero to become integers.
 *
 * Throws a `TypeError` for ragged arrays and for a shape that the values do not fill, and a `RangeError` for a value
 * that the dtype cannot hold: outside the range of an integer, or finite but infinite as a float.
 *
 * @example From nested arrays
 * ```ts
 * import { CpuDevice, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2, 3], [4, 5, 6]], { device });
 * assert.deepEqual(x.shape, [2, 3]);
 * assert.deepEqual(await x.toArray(), [[1, 2, 3], [4, 5, 6]]);
 * ```
 */
export function tensor(
  values: NestedValues | TypedArray | ForeignArray,
  options?: TensorOptions,
): Tensor {
  const { device = defaultDevice() } = options ?? {};
  const typed = ArrayBuffer.isView(values);
  const natural = typed ? [values.length] : shapeOf(values);
  const flat = typed ? values : flatten(values, natural);
  const dtype = options?.dtype ?? naturalDType(flat);
  const data = typed && isTypedArray(values) && dtypeOf(values) === dtype
    ? values
    : convert(dtype, flat);
  const shape = checkShape("tensor", options?.shape ?? natural, data.length);
  const result = Tensor.empty(device, shape, dtype);
  if (data.length) device.write(result.buffer, padded(data));
  return result;
}

function isTypedArray(array: ArrayLike<unknown>): array is TypedArray {
  return array instanceof Float32Array || array instanceof Float16Array ||
    array instanceof Int32Array || array instanceof Uint32Array;
}

/** The dtype of values where none is asked for. */
function naturalDType(values: TypedArray | ForeignArray | readonly (number | boolean)[]): DType {
  if (isTypedArray(values)) return dtypeOf(values);
  if (ArrayBuffer.isView(values)) return values instanceof Float64Array ? "f32" : "i32";
  return typeof values[0] === "boolean" ? "u32" : "f32";
}

const RANGES = { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1] } as const;

/** The values as `dtype`. Throws a `RangeError` for the first one that it cannot hold. */
function convert(dtype: DType, values: ArrayLike<number | bigint | boolean>): TypedArray {
  const data = arrayOf(dtype, values.length);
  const [minimum, maximum] = RANGES[dtype as keyof typeof RANGES] ?? [-Infinity, Infinity];
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    data[i] = value;
    if (isFloat(dtype)) {
      if (Number.isFinite(data[i]) || !Number.isFinite(value)) continue;
      throw new RangeError(`tensor: expected values in the range of ${dtype} but got ${value}`);
    }
    if (value >= minimum && value <= maximum) continue;
    throw new RangeError(
      `tensor: expected values from ${minimum} to ${maximum} for ${dtype} but got ${value}`,
    );
  }
  return data;
}

/** A tensor filled with one value, on a given device. */
export function constant(
  device: Device,
  shape: Shape,
  value: number,
  dtype: DType = "f32",
): Tensor {
  const result = Tensor.empty(device, shape, dtype);
  device.launch(fill, { y: result }, { count: result.size, value });
  return result;
}

/** A tensor filled with one value. */
export function full(shape: Shape, value: number, options?: CreateOptions): Tensor {
  return constant(options?.device ?? defaultDevice(), shape, value, options?.dtype);
}

/** A tensor of zeros. */
export function zeros(shape: Shape, options?: CreateOptions): Tensor {
  return full(shape, 0, options);
}

/** A tensor of ones. */
export function ones(shape: Shape, options?: CreateOptions): Tensor {
  return full(shape, 1, options);
}

/** A tensor of zeros with the shape of `x`, on its device and of its dtype unless the options say otherwise. */
export function zerosLike(x: Tensor, options?: CreateOptions): Tensor {
  return zeros(x.shape, { device: x.device, dtype: x.dtype, ...options });
}

/**
 * A tensor of ones with the shape of `x`, on its device and of its dtype unless the options say otherwise.
 *
 * @example
 * ```ts
 * import { CpuDevice, onesLike, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[5, 6]], { device });
 * using y = onesLike(x);
 * assert.deepEqual(await y.toArray(), [[1, 1]]);
 * ```
 */
export function onesLike(x: Tensor, options?: CreateOptions): Tensor {
  return ones(x.shape, { device: x.device, dtype: x.dtype, ...options });
}

/** The numbers `0, 1, ... length - 1` (or from `start` on, by `step`) in one axis; `i32` by default. */
export function arange(
  length: number,
  options?: CreateOptions & { readonly start?: number; readonly step?: number },
): Tensor {
  const { start = 0, step = 1, dtype = "i32" } = options ?? {};
  checkShape("arange", [length]);
  return tensor(Array.from({ length }, (_, i) => start + i * step), { ...options, dtype });
}

/** Copies new values of the same size and type into a tensor's memory. */
export function assign(target: Tensor, values: TypedArray): void {
  if (values.length !== target.size || dtypeOf(values) !== target.dtype) {
    throw new TypeError(
      `assign: expected ${target.size} elements of ${target.dtype} but got ${values.length} of ` +
        dtypeOf(values),
    );
  }
  if (values.length === 0) return;
  target.device.write(target.buffer, padded(values), target.offset * BYTES[target.dtype]);
}

/** Writes go by whole words; an odd number of f16 gets one more. */
function padded(data: TypedArray): TypedArray {
  if (data.byteLength % 4 === 0) return data;
  const longer = new Float16Array(data.length + 1);
  longer.set(data);
  return longer;
}

function shapeOf(values: NestedValues): number[] {
  const shape: number[] = [];
  for (let part: NestedValues | undefined = values; typeof part === "object"; part = part[0]) {
    shape.push(part.length);
  }
  return shape;
}

function flatten(values: NestedValues, shape: Shape): (number | boolean)[] {
  const flat: (number | boolean)[] = [];
  const visit = (part: NestedValues, axis: number): void => {
    const fits = axis === shape.length
      ? typeof part === "number" || typeof part === "boolean"
      : typeof part === "object" && part.length === shape[axis];
    if (!fits) {
      throw new TypeError(
        `tensor: expected nested arrays of shape ${formatShape(shape)} but got ` +
          (typeof part === "object" ? `an array of ${part.length}` : part) + ` at axis ${axis}`,
      );
    }
    if (typeof part !== "object") flat.push(part);
    else part.forEach((inner) => visit(inner, axis + 1));
  };
  visit(values, 0);
  if (flat.length !== sizeOf(shape)) {
    throw new TypeError(
      `tensor: expected nested arrays of shape ${
        formatShape(shape)
      } but got ${flat.length} numbers`,
    );
  }
  return flat;
}
