/**
 * Axes in another order.
 *
 * @module
 */
import { resolveAxis, type Shape, stridesOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { copyStrided } from "./strided.ts";

/**
 * The tensor whose axis `i` is the axis `axes[i]` of `x`. Throws a `RangeError` unless `axes` names every
 * axis once.
 */
export function permute(x: Tensor, axes: Shape): Tensor {
  const order = axes.map((axis) => resolveAxis("permute", axis, x.shape));
  if (order.length !== x.shape.length || new Set(order).size !== order.length) {
    throw new RangeError(
      `permute: expected each of ${x.shape.length} axes once but got [${axes.join(", ")}]`,
    );
  }
  const strides = stridesOf(x.shape);
  const y = copyStrided(x, order.map((axis) => x.shape[axis]), order.map((a) => strides[a]), 0);
  return record("permute", [x], y, [], (dOut) => [
    permute(dOut, order.map((_, axis) => order.indexOf(axis))),
  ]);
}

/** `x` with two axes swapped, the last two by default. Throws a `RangeError` for axes that do not exist. */
export function transpose(x: Tensor, first = -2, second = -1): Tensor {
  const a = resolveAxis("transpose", first, x.shape);
  const b = resolveAxis("transpose", second, x.shape);
  const axes = x.shape.map((_, axis) => axis === a ? b : axis === b ? a : axis);
  return permute(x, axes);
}
