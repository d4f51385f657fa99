/**
 * Softmax.
 *
 * @module
 */
import { softmax as forward } from "../../kernels/rows/softmax.ts";
import { softmaxBackward } from "../../kernels/rows/softmax_backward.ts";
import { resolveAxis } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { alongAxis } from "./axis_params.ts";
import { checkFloat } from "./check.ts";

/** Options of {@linkcode softmax} and `logSoftmax`. */
export interface SoftmaxOptions {
  /** The axis whose elements compete; negative ones count from the back. Default: -1. */
  readonly axis?: number;
}

/**
 * `exp(x) / sum(exp(x))` along an axis: numbers between 0 and 1 that add up to 1. The shape stays. The
 * largest element is subtracted first, so large ones do not overflow; sums are in f32 for `f16` too.
 *
 * As in PyTorch, -inf becomes 0 and a row of nothing but -inf NaN.
 *
 * Throws a `TypeError` for whole numbers and a `RangeError` for an axis that `x` does not have.
 *
 * @example Along the last axis
 * ```ts
 * import { CpuDevice, softmax, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 1, 1, 1]], { device });
 * using y = softmax(x);
 * assert.deepEqual(await y.toArray(), [[0.25, 0.25, 0.25, 0.25]]);
 * ```
 */
export function softmax(x: Tensor, options: SoftmaxOptions = {}): Tensor {
  checkFloat("softmax", x);
  const params = alongAxis(x.shape, resolveAxis("softmax", options.axis ?? -1, x.shape));
  const y = Tensor.empty(x.device, x.shape, x.dtype);
  x.device.launch(forward, { x, y }, params);
  return record("softmax", [x], y, [y], (dOut, [y]) => {
    const dX = Tensor.empty(y.device, y.shape, y.dtype);
    y.device.launch(softmaxBackward, { dOut, y, dX }, params);
    return [dX];
  });
}
