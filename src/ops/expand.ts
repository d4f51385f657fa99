/**
 * Stretching a tensor to a larger shape.
 *
 * @module
 */
import { broadcastStrides, sameShape, type Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { copyStrided } from "./strided.ts";

/** `broadcastTo` without a gradient, for the gradients of reductions. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  return copyStrided(x, shape, broadcastStrides(x.shape, shape), 0);
}
