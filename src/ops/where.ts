/**
 * Choosing between tensors element by element.
 *
 * @module
 */
import { ternaryKernels } from "../../kernels/elementwise/binary.ts";
import { isFloat } from "../device/dtype.ts";
import { constant } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { sameDType } from "./check.ts";
import { launchBroadcast } from "./elementwise.ts";
import { sumTo } from "./reduce_launch.ts";

/**
 * `a` where the condition is not 0, else `b`; all stretched to one shape. The condition is of any dtype and
 * has no gradient. Throws a `TypeError` when the shapes do not broadcast or a and b differ in dtype.
 */
export function where(condition: Tensor, a: Tensor, b: Tensor): Tensor {
  sameDType("where", a, b);
  const y = launchBroadcast("where", ternaryKernels.where, [condition, a, b], a.dtype);
  if (!isFloat(a.dtype)) return y;
  return record("where", [a, b], y, [condition], (dOut, [condition], wanted) => {
    const shapes = [a.shape, b.shape];
    const zero = constant(dOut.device, [], 0, dOut.dtype);
    const pick = (...parts: [Tensor, Tensor]): Tensor =>
      launchBroadcast("where", ternaryKernels.where, [condition, ...parts], dOut.dtype);
    return [
      wanted[0] ? sumTo(pick(dOut, zero), shapes[0]) : null,
      wanted[1] ? sumTo(pick(zero, dOut), shapes[1]) : null,
    ];
  });
}

/** `x` with `value` where the mask is not 0; the mask is stretched to x. Otherwise as {@linkcode where}. */
export function maskedFill(x: Tensor, mask: Tensor, value: number): Tensor {
  return scoped(() => where(mask, constant(x.device, [], value, x.dtype), x));
}
