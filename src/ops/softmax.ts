/**
 * Softmax and its logarithm.
 *
 * @module
 */
import { softmax as softmaxKernel, softmaxBackward } from "../../kernels/rows/softmax.ts";
import { resolveAxis } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat } from "./check.ts";
import { alongAxis } from "./launch.ts";

/** Options of {@linkcode softmax} and {@linkcode logSoftmax}. */
export interface SoftmaxOptions {
  /** The axis to normalise over; negative ones count from the back. Default: -1. */
  readonly axis?: number;
}

/**
 * Returns `exp(x) / sum(exp(x))` along an axis: numbers between 0 and 1 that sum to 1. The maximum is subtracted first,
 * so large values do not overflow. Sums are in f32, also for `f16`.
 *
 * As in PyTorch, -inf becomes 0, and a row of only -inf becomes NaN.
 *
 * Throws a `TypeError` for integers and a `RangeError` for an axis that `x` does not have.
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
export function softmax(x: Tensor, options?: SoftmaxOptions): Tensor {
  return alongRows("softmax", x, options, 0);
}

/**
 * Returns the logarithm of the softmax along an axis, `x - log(sum(exp(x)))`, accurate even where the softmax itself
 * would round to 0.
 *
 * Throws a `TypeError` for integers and a `RangeError` for an axis that `x` does not have.
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
export function logSoftmax(x: Tensor, options?: SoftmaxOptions): Tensor {
  return alongRows("logSoftmax", x, options, 1);
}

function alongRows(
  op: string,
  x: Tensor,
  options: SoftmaxOptions | undefined,
  log: 0 | 1,
): Tensor {
  const { axis = -1 } = options ?? {};
  checkFloat(op, x);
  const params = { ...alongAxis(x.shape, resolveAxis(op, axis, x.shape)), log };
  const y = Tensor.empty(x.device, x.shape, x.dtype);
  x.device.launch(softmaxKernel, { x, y }, params);
  return record(op, [x], y, [y], (dOut, [y]) => {
    const dX = Tensor.empty(y!.device, y!.shape, y!.dtype);
    y!.device.launch(softmaxBackward, { dOut, y, dX }, params);
    return [dX];
  });
}
