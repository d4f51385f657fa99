/**
 * Cross-entropy.
 *
 * @module
 */
import { crossEntropy as forward } from "../../kernels/rows/cross_entropy.ts";
import { crossEntropyBackward } from "../../kernels/rows/cross_entropy_backward.ts";
import { crossEntropyCount } from "../../kernels/rows/cross_entropy_count.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice } from "./check.ts";
import {
  checkTargets,
  type CrossEntropyOptions,
  crossEntropyParams,
  meanLoss,
} from "./cross_entropy_launch.ts";

export type { CrossEntropyOptions };

/**
 * The mean of `-log(softmax(logits)[target])` over the rows whose target is not ignored, a scalar of `f32`.
 * logits (..., C), targets (...) class ids of `i32` or `u32`. With smoothing s a row's loss is
 * `(1 - s) * nll + s * mean(-log p)`. All as in PyTorch; the softmax itself is never stored.
 *
 * When every row is ignored the loss is NaN (0 / 0, as in PyTorch) and the gradient 0.
 *
 * Throws a `TypeError` when shapes, dtypes or devices do not go together, a `RangeError` for options out of
 * range and, on the CPU, for a target that is neither a class nor ignored, naming its row. On a GPU, which
 * cannot throw, such a row makes the loss NaN, and its gradient.
 *
 * @example Evenly likely classes
 * ```ts
 * import { CpuDevice, crossEntropy, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([[0, 0, 0, 0], [1, 1, 1, 1]], { device });
 * using targets = tensor([3, 0], { device, dtype: "i32" });
 * using loss = crossEntropy(logits, targets);
 * assert.ok(Math.abs(await loss.item() - Math.log(4)) < 1e-6);
 * ```
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  const device = sameDevice("crossEntropy", logits, targets);
  checkFloat("crossEntropy", logits);
  const rows = checkTargets("crossEntropy", logits, targets);
  const classes = logits.shape.at(-1)!;
  const params = crossEntropyParams("crossEntropy", rows, classes, options);
  const grad = needsGrad([logits]);

  const scale = Tensor.empty(device, [1]);
  const { smoothing: _, ...countParams } = params;
  device.launch(crossEntropyCount, { targets, scale }, countParams);
  const losses = Tensor.empty(device, [rows]);
  const lse = grad ? Tensor.empty(device, [rows]) : undefined;
  device.launch(forward, { logits, targets, loss: losses, lse }, params);
  const mean = meanLoss(losses, scale);
  if (!lse) {
    scale.dispose();
    return mean;
  }
  record("crossEntropy", [logits], mean, [logits, targets, lse, scale], (dOut, saved) => {
    const [logits, targets, lse, scale] = saved;
    const dLogits = Tensor.empty(device, logits.shape, logits.dtype);
    device.launch(crossEntropyBackward, { logits, targets, lse, scale, dOut, dLogits }, params);
    return [dLogits];
  });
  lse.dispose();
  scale.dispose();
  return mean;
}
