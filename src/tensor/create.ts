/**
 * Tensors from numbers.
 *
 * @module
 */
import { fill } from "../../kernels/elementwise/fill.ts";
import { defaultDevice } from "../device/default.ts";
import type { Device } from "../device/device.ts";
import { arrayOf, type DType, dtypeOf, type TypedArray } from "../device/dtype.ts";
import { checkShape, formatShape, type Shape, sizeOf } from "./shape.ts";
import { type NestedArray, Tensor } from "./tensor.ts";

/** Where a new tensor lives and what it holds. */
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
 * A tensor of the given values: a number, nested arrays, or a typed array (`Float32Array` gives `f32`,
 * `Float16Array` `f16`, `Int32Array` `i32`, `Uint32Array` `u32`; other floats become `f32`, other integers `i32`).
 *
 * Throws a `TypeError` for ragged arrays and for a shape that the values do not fill, a `RangeError` for values that an
 * integer type does not have.
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
  values: NestedArray | TypedArray | ForeignArray,
  options?: TensorOptions,
): Tensor {
  const { device = defaultDevice() } = options ?? {};
  const typed = ArrayBuffer.isView(values);
  const natural = typed ? [values.length] : shapeOf(values);
  const dtype = options?.dtype ?? (typed ? closestDType(values) : "f32");
  const data = typed && isTypedArray(values) && dtypeOf(values) === dtype
    ? values
    : converted(dtype, typed ? values : flatten(values, natural));
  const shape = checkShape("tensor", options?.shape ?? natural, data.length);
  const result = Tensor.empty(device, shape, dtype);
  if (data.length) device.write(result.buffer, padded(data));
  return result;
}

/** Typed arrays of elements that no tensor has, as `.npy` files may hold them. */
export type ForeignArray =
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | BigInt64Array
  | BigUint64Array;

function isTypedArray(array: TypedArray | ForeignArray): array is TypedArray {
  return array instanceof Float32Array || array instanceof Float16Array ||
    array instanceof Int32Array || array instanceof Uint32Array;
}

function closestDType(array: TypedArray | ForeignArray): DType {
  if (isTypedArray(array)) return dtypeOf(array);
  return array instanceof Float64Array ? "f32" : "i32";
}

const RANGES = { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1] } as const;

function converted(dtype: DType, values: ArrayLike<number> | ForeignArray): TypedArray {
  const isBig = values instanceof BigInt64Array || values instanceof BigUint64Array;
  const numbers = isBig ? Array.from(values, Number) : values;
  if (dtype === "i32" || dtype === "u32") {
    const [minimum, maximum] = RANGES[dtype];
    for (const value of Array.from(numbers)) {
      if (value >= minimum && value <= maximum) continue;
      throw new RangeError(
        `tensor: expected values from ${minimum} to ${maximum} for ${dtype} but got ${value}`,
      );
    }
  }
  return arrayOf(dtype, numbers);
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
  if (values.length) target.device.write(target.buffer, padded(values));
}

/** Writes go by whole words; an odd number of f16 gets one more. */
function padded(data: TypedArray): TypedArray {
  if (data.byteLength % 4 === 0) return data;
  const longer = new Float16Array(data.length + 1);
  longer.set(data);
  return longer;
}

function shapeOf(values: NestedArray): number[] {
  const shape: number[] = [];
  for (let part: NestedArray | undefined = values; isList(part); part = part[0]) {
    shape.push(part.length);
  }
  return shape;
}

/** `Array.isArray` for readonly arrays. */
function isList(part: NestedArray | undefined): part is readonly NestedArray[] {
  return Array.isArray(part);
}

function flatten(values: NestedArray, shape: Shape): number[] {
  const flat: number[] = [];
  const visit = (part: NestedArray, axis: number): void => {
    const fits = axis === shape.length
      ? typeof part === "number"
      : isList(part) && part.length === shape[axis];
    if (!fits) {
      throw new TypeError(
        `tensor: ragged arrays: expected shape ${formatShape(shape)} but found ` +
          (isList(part) ? `an array of ${part.length}` : String(part)) + ` at axis ${axis}`,
      );
    }
    if (typeof part === "number") flat.push(part);
    else part.forEach((inner) => visit(inner, axis + 1));
  };
  visit(values, 0);
  if (flat.length !== sizeOf(shape)) throw new TypeError("tensor: ragged arrays");
  return flat;
}
