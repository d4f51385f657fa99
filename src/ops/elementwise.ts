/**
 * What the elementwise operations share: they launch a kernel over tensors of one shape, or over tensors
 * that are stretched to one.
 *
 * @module
 */
import { broadcastParams } from "../../kernels/elementwise/elementwise.ts";
import { type DType, isFloat } from "../device/dtype.ts";
import type { Kernel, Params } from "../device/kernel.ts";
import { broadcastShapes, broadcastStrides, type Shape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice } from "./check.ts";

/** A tensor of the operands' shape, filled by a flat kernel. */
export function launchFlat(
  kernel: Kernel<Params>,
  operands: readonly Tensor[],
  dtype: DType = operands[0].dtype,
  scalars: Params = {},
): Tensor {
  const device = sameDevice(kernel.name, ...operands);
  const [a, b, c] = operands;
  const y = Tensor.empty(device, a.shape, dtype);
  device.launch(kernel, { a, ...(b && { b }), ...(c && { c }), y }, {
    count: a.size,
    float: operands.every((operand) => isFloat(operand.dtype)) ? 1 : 0,
    ...scalars,
  });
  return y;
}

/** A tensor of the shape that the operands stretch to, filled by a broadcasting kernel. */
export function launchBroadcast(
  name: string,
  kernel: Kernel<Params>,
  operands: readonly Tensor[],
  dtype: DType = operands[0].dtype,
): Tensor {
  const device = sameDevice(name, ...operands);
  const shape = operands.reduce<Shape>(
    (all, operand) => broadcastShapes(name, all, operand.shape),
    [],
  );
  const strides = operands.map((operand) => broadcastStrides(operand.shape, shape));
  const float = operands.every((operand) => isFloat(operand.dtype));
  const params = broadcastParams(name, shape, strides, float);
  const y = Tensor.empty(device, shape, dtype);
  const [a, b, c] = operands;
  device.launch(kernel, { a, ...(b && { b }), ...(c && { c }), y }, params);
  return y;
}

/** Parameters of a kernel that takes a tensor and a number. Throws a `TypeError` for a fraction among whole numbers. */
export function numberScalars(name: string, x: Tensor, number: number, swapped: boolean): Params {
  const float = isFloat(x.dtype);
  if (!float && !Number.isInteger(number)) {
    throw new TypeError(`${name}: expected a whole number for ${x} but got ${number}`);
  }
  return { value: float ? number : 0, whole: float ? 0 : number | 0, swapped: swapped ? 1 : 0 };
}
