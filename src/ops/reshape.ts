/**
 * The same elements in another shape.
 *
 * @module
 */
import type { Shape } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * The elements of `x` in row-major order under another shape of the same size; one length may be -1 and is
 * then worked out. Shares the memory of `x`. Throws a `TypeError` when the sizes differ.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const { shape: before } = x;
  return record("reshape", [x], x.alias(shape), [], (dOut) => [dOut.alias(before)]);
}
