/**
 * How functions of one tensor are launched, and their gradients.
 *
 * @module
 */
import {
  unaryBackwardKernels,
  type UnaryBackwardName,
  unaryKernels,
} from "../../kernels/elementwise/unary.ts";
import { isFloat } from "../device/dtype.ts";
import type { Params } from "../device/kernel.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { launchFlat } from "./elementwise.ts";

/** Applies a function whose gradient is one kernel of dOut and x, or of dOut and the value. */
export function applyUnary(
  name: UnaryBackwardName,
  x: Tensor,
  needs: "input" | "value",
  scalars: Params = {},
): Tensor {
  const y = launchFlat(unaryKernels[name], [x], x.dtype, scalars);
  if (!isFloat(x.dtype)) return y;
  return record(
    name,
    [x],
    y,
    [needs === "input" ? x : y],
    (dOut, [saved]) => [launchFlat(unaryBackwardKernels[name], [dOut, saved], dOut.dtype, scalars)],
  );
}
