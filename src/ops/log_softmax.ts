/**
 * Log-softmax.
 *
 * @module
 */
import { logSoftmax as forward } from "../../kernels/rows/log_softmax.ts";
import { logSoftmaxBackward } from "../../kernels/rows/log_softmax_backward.ts";
import { resolveAxis } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { alongAxis } from "./axis_params.ts";
import { checkFloat } from "./check.ts";
import type { SoftmaxOptions } from "./softmax.ts";

/**
 * The logarithm of softmax along an axis, `x - log(sum(exp(x)))`, exact where softmax itself would round to
 * 0. The shape stays.
 *
 * Throws a `TypeError` for whole numbers and a `RangeError` for an axis that `x` does not have.
 *
 * @example Along the last axis
 * ```ts
 * import { CpuDevice, logSoftmax, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1000, 0], { device });
 * using y = logSoftmax(x);
 * assert.deepEqual(await y.toArray(), [0, -1000]);
 * ```
 */
export function logSoftmax(x: Tensor, options: SoftmaxOptions = {}): Tensor {
  checkFloat("logSoftmax", x);
  const params = alongAxis(x.shape, resolveAxis("logSoftmax", options.axis ?? -1, x.shape));
  const y = Tensor.empty(x.device, x.shape, x.dtype);
  x.device.launch(forward, { x, y }, params);
  return record("logSoftmax", [x], y, [y], (dOut, [y]) => {
    const dX = Tensor.empty(y.device, y.shape, y.dtype);
    y.device.launch(logSoftmaxBackward, { dOut, y, dX }, params);
    return [dX];
  });
}
