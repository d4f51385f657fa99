/**
 * Stretching a tensor to a larger shape.
 *
 * @module
 */
import { broadcastShapes, formatShape, sameShape, type Shape } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { expand } from "./expand.ts";
import { sumTo } from "./reduce_launch.ts";

/**
 * `x` stretched to `shape` by NumPy's rules, copied. Throws a `TypeError` with both shapes when it does not
 * stretch to it.
 */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (!sameShape(broadcastShapes("broadcastTo", x.shape, shape), shape)) {
    throw new TypeError(
      `broadcastTo: shape ${formatShape(x.shape)} does not stretch to ${formatShape(shape)}`,
    );
  }
  const { shape: before } = x;
  const y = sameShape(before, shape) ? x.alias() : expand(x, shape);
  return record("broadcastTo", [x], y, [], (dOut) => [sumTo(dOut, before)]);
}
