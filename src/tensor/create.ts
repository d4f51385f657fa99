/**
 * Tensors from numbers.
 *
 * @module
 */
import { fill } from "../../kernels/elementwise/fill.ts";
import { defaultDevice } from "../device/default.ts";
import type { Device } from "../device/device.ts";
import { arrayOf, BYTES, type DType, dtypeOf, type TypedArray } from "../device/dtype.ts";
import { checkShape, formatShape, type Shape, sizeOf } from "./shape.ts";
import { type NestedArray, Tensor } from "./tensor.ts";

/** Where a new tensor lives and what it holds. */
export interface CreateOptions {
  /** The device; default: the one opened first (see `openDevice`). */
  readonly device?: Device;
  /** The element type; default: the data's own, or `f32`. */
  readonly dtype?: DType;
}

/** Options of {@linkcode tensor}. */
export interface TensorOptions extends CreateOptions {
  /** The shape; default: that of the nested arrays, or one axis. */
  readonly shape?: Shape;
}

/**
 * A tensor of the given values: a number, nested arrays, or a typed array (`Float32Array` gives `f32`,
 * `Float16Array` `f16`, `Int32Array` `i32`, `Uint32Array` `u32`).
 *
 * Throws a `TypeError` for ragged arrays and for a shape that the values do not fill.
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
  values: NestedArray | readonly NestedArray[] | TypedArray,
  options: TensorOptions = {},
): Tensor {
  const { device = defaultDevice() } = options;
  const typed = ArrayBuffer.isView(values);
  const natural = typed ? [values.length] : shapeOf(values as NestedArray);
  const dtype = options.dtype ?? (typed ? dtypeOf(values) : "f32");
  const flat = typed ? values : flatten(values as NestedArray, natural);
  const data = typed && dtypeOf(values) === dtype ? values : arrayOf(dtype, flat);
  const shape = checkShape("tensor", options.shape ?? natural, data.length);
  const result = Tensor.empty(device, shape, dtype);
  if (data.length) device.write(result.buffer, padded(data));
  return result;
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
export function full(shape: Shape, value: number, options: CreateOptions = {}): Tensor {
  return constant(options.device ?? defaultDevice(), shape, value, options.dtype);
}

/** A tensor of zeros. */
export function zeros(shape: Shape, options: CreateOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** A tensor of ones. */
export function ones(shape: Shape, options: CreateOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** The numbers `0, 1, ... length - 1` (or from `start` on, by `step`) in one axis; `i32` by default. */
export function arange(
  length: number,
  options: CreateOptions & { readonly start?: number; readonly step?: number } = {},
): Tensor {
  const { start = 0, step = 1, dtype = "i32" } = options;
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

function shapeOf(values: NestedArray): number[] {
  const shape: number[] = [];
  for (let part = values; Array.isArray(part); part = part[0]) {
    shape.push(part.length);
    if (part.length === 0) break;
  }
  return shape;
}

function flatten(values: NestedArray, shape: Shape): number[] {
  const flat: number[] = [];
  const visit = (part: NestedArray, axis: number): void => {
    const fits = axis === shape.length
      ? typeof part === "number"
      : Array.isArray(part) && part.length === shape[axis];
    if (!fits) {
      throw new TypeError(
        `tensor: ragged arrays: expected shape ${formatShape(shape)} but found ` +
          (Array.isArray(part) ? `an array of ${part.length}` : String(part)) + ` at axis ${axis}`,
      );
    }
    if (typeof part === "number") flat.push(part);
    else part.forEach((inner) => visit(inner, axis + 1));
  };
  visit(values, 0);
  if (flat.length !== sizeOf(shape)) throw new TypeError("tensor: ragged arrays");
  return flat;
}
