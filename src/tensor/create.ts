/**
 * Creating tensors.
 *
 * @module
 */
import { fill } from "../../kernels/elementwise/fill.ts";
import { defaultDevice } from "../device/default.ts";
import type { Device } from "../device/device.ts";
import {
  arrayOf,
  BYTES,
  type DType,
  dtypeOf,
  INTEGER_RANGES,
  isFloat,
  type TypedArray,
} from "../device/dtype.ts";
import { checkShape, formatShape, type Shape, sizeOf } from "./shape.ts";
import { copyInto, Tensor } from "./tensor.ts";

/** A number or boolean, or arbitrarily nested arrays of them; the innermost may be typed arrays. */
export type NestedValues =
  | number
  | boolean
  | TypedArray
  | ForeignArray
  | readonly NestedValues[];

/** Typed arrays whose element type no tensor has, such as `.npy` files may hold. */
export type ForeignArray =
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | BigInt64Array
  | BigUint64Array;

/** The device and dtype of a new tensor. */
export interface CreateOptions {
  /** The device. Default: the first that was opened (see `openDevice`). */
  readonly device?: Device | undefined;
  /** The dtype. Default: that of the data, or `f32`. */
  readonly dtype?: DType | undefined;
}

/** Options of {@linkcode tensor}. */
export interface TensorOptions extends CreateOptions {
  /** The shape. Default: that of the nested arrays, or a single axis. */
  readonly shape?: Shape;
}

/**
 * Creates a tensor from a number, nested arrays, a typed array, or arrays of typed arrays. If no dtype is given, the
 * first row decides: numbers become `f32`, booleans `u32` (0 and 1, as in comparisons), `Float32Array` `f32`,
 * `Float16Array` `f16`, `Int32Array` `i32`, `Uint32Array` `u32`, other float arrays `f32` and other integer arrays
 * `i32`. Fractions are truncated towards zero to become integers.
 *
 * Throws a `TypeError` for ragged arrays and for a shape that the values do not fill, and a `RangeError` for a value
 * that the dtype cannot hold: outside an integer's range, or finite but infinite as a float.
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
export function tensor(values: NestedValues, options?: TensorOptions): Tensor {
  const { device = defaultDevice() } = options ?? {};
  const typed = ArrayBuffer.isView(values);
  const natural = shapeOf(values);
  const flat = typed ? values : flatten(values, natural);
  const dtype = options?.dtype ?? naturalDType(values);
  const data = typed && isTypedArray(values) && dtypeOf(values) === dtype
    ? values
    : convert("tensor", dtype, flat);
  const shape = checkShape("tensor", options?.shape ?? natural, data.length);
  const result = Tensor.empty(device, shape, dtype);
  if (data.length) device.write(result.buffer, padded(data));
  return result;
}

function isTypedArray(array: ArrayLike<unknown>): array is TypedArray {
  return array instanceof Float32Array || array instanceof Float16Array ||
    array instanceof Int32Array || array instanceof Uint32Array;
}

/** The dtype of values if none is given. */
function naturalDType(values: NestedValues | undefined): DType {
  if (Array.isArray(values)) return naturalDType(values[0]);
  if (!ArrayBuffer.isView(values)) return typeof values === "boolean" ? "u32" : "f32";
  if (isTypedArray(values)) return dtypeOf(values);
  return values instanceof Float64Array ? "f32" : "i32";
}

/** Converts values to `dtype`. Throws a `RangeError` for the first that it cannot hold. */
function convert(
  op: string,
  dtype: DType,
  values: ArrayLike<number | bigint | boolean>,
): TypedArray {
  const data = arrayOf(dtype, values.length);
  const [minimum, maximum] = INTEGER_RANGES[dtype] ?? [-Infinity, Infinity];
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    data[i] = value;
    if (isFloat(dtype)) {
      if (Number.isFinite(data[i]) || !Number.isFinite(value)) continue;
      throw new RangeError(`${op}: expected values in the range of ${dtype} but got ${value}`);
    }
    if (value >= minimum && value <= maximum) continue;
    throw new RangeError(
      `${op}: expected values from ${minimum} to ${maximum} for ${dtype} but got ${value}`,
    );
  }
  return data;
}

/**
 * Creates a tensor filled with one value on a given device. Throws a `RangeError` for a value that an integer dtype cannot
 * hold.
 */
export function constant(
  device: Device,
  shape: Shape,
  value: number,
  dtype: DType = "f32",
): Tensor {
  const [whole] = dtype in INTEGER_RANGES ? convert("full", dtype, [value]) : [0];
  // The kernel's value is an f32.
  if (Math.abs(whole!) > 2 ** 24) {
    const size = sizeOf(shape);
    return tensor(arrayOf(dtype, size).fill(value), { device, shape });
  }
  const result = Tensor.empty(device, shape, dtype);
  device.launch(fill, { y: result }, { count: result.size, value });
  return result;
}

/** Creates a tensor filled with one value. Throws a `RangeError` for one that an integer dtype cannot hold. */
export function full(shape: Shape, value: number, options?: CreateOptions): Tensor {
  return constant(options?.device ?? defaultDevice(), shape, value, options?.dtype);
}

/** Creates a tensor of zeros. */
export function zeros(shape: Shape, options?: CreateOptions): Tensor {
  return full(shape, 0, options);
}

/** Creates a tensor of ones. */
export function ones(shape: Shape, options?: CreateOptions): Tensor {
  return full(shape, 1, options);
}

/** Creates a tensor of zeros with the shape of `x`, and with its device and dtype unless the options say otherwise. */
export function zerosLike(x: Tensor, options?: CreateOptions): Tensor {
  return zeros(x.shape, { device: x.device, dtype: x.dtype, ...options });
}

/**
 * Creates a tensor of ones with the shape of `x`, and with its device and dtype unless the options say otherwise.
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

/** Creates a tensor of the numbers `0, 1, ... length - 1`, or from `start` in steps of `step`; `i32` by default. */
export function arange(
  length: number,
  options?: CreateOptions & { readonly start?: number; readonly step?: number },
): Tensor {
  const { start = 0, step = 1, dtype = "i32" } = options ?? {};
  checkShape("arange", [length]);
  return tensor(Array.from({ length }, (_, i) => start + i * step), { ...options, dtype });
}

/**
 * Copies new values into a tensor's memory: those of an array, or of a tensor on the same device, of the same size and
 * dtype. Throws a `TypeError` for others. No gradient flows.
 *
 * @example The moving average of a weight, on its device
 * ```ts
 * import { add, assign, CpuDevice, mul, Scope, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using weight = tensor([1, 2], { device });
 * using average = tensor([0, 0], { device });
 * {
 *   using _step = new Scope();
 *   assign(average, add(mul(average, 0.75), mul(weight, 0.25)));
 * }
 * assert.deepEqual(await average.toArray(), [0.25, 0.5]);
 * ```
 */
export function assign(target: Tensor, values: TypedArray | Tensor): void {
  const [size, dtype] = values instanceof Tensor
    ? [values.size, values.dtype]
    : [values.length, dtypeOf(values)];
  if (size !== target.size || dtype !== target.dtype) {
    throw new TypeError(
      `assign: expected ${target.size} elements of ${target.dtype} but got ${size} of ${dtype}`,
    );
  }
  if (values instanceof Tensor) {
    if (values.device !== target.device) {
      throw new TypeError(
        `assign: expected values on ${target.device.description} but got some on ${values.device.description}`,
      );
    }
    copyInto(target, values);
  } else if (size > 0) {
    target.device.write(target.buffer, padded(values), target.offset * BYTES[target.dtype]);
  }
}

/** Writes move whole 32-bit words, so an odd number of f16 elements is padded by one. */
function padded(data: TypedArray): TypedArray {
  if (data.byteLength % 4 === 0) return data;
  const longer = new Float16Array(data.length + 1);
  longer.set(data);
  return longer;
}

type Values = Exclude<NestedValues, number | boolean>;

function isArray(part: unknown): part is Values {
  return Array.isArray(part) || ArrayBuffer.isView(part);
}

function shapeOf(values: NestedValues): number[] {
  const shape: number[] = [];
  for (let part: unknown = values; isArray(part); part = part[0]) shape.push(part.length);
  return shape;
}

function flatten(values: NestedValues, shape: Shape): (number | bigint | boolean)[] {
  const flat: (number | bigint | boolean)[] = [];
  const visit = (part: NestedValues | bigint, axis: number): void => {
    if (axis === shape.length && /^(number|bigint|boolean)$/.test(typeof part)) {
      flat.push(part as number | bigint | boolean);
    } else if (axis < shape.length && isArray(part) && part.length === shape[axis]) {
      for (const inner of part) visit(inner, axis + 1);
    } else {
      const got = isArray(part)
        ? `an array of ${part.length}`
        : typeof part === "string"
        ? JSON.stringify(part)
        : `${part}`;
      throw new TypeError(
        `tensor: expected nested arrays of shape ${formatShape(shape)} but got ` +
          `${got} at axis ${axis}`,
      );
    }
  };
  visit(values, 0);
  return flat;
}
