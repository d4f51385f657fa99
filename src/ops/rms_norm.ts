/**
 * Root mean square normalisation.
 *
 * @module
 */
import { layerNormBackward } from "../../kernels/rows/layer_norm_backward.ts";
import { rmsNorm as forward } from "../../kernels/rows/rms_norm.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice } from "./check.ts";
import { type NormOptions, normParams, sumOverRows } from "./norm_launch.ts";

/**
 * `x / sqrt(mean(x^2) + eps) * weight` over the last axis (Zhang and Sennrich, 2019). x (..., C), weight
 * (C), which may be left out; the shape stays. Sums are in f32 for `f16` too.
 *
 * Throws a `TypeError` when shapes, dtypes or devices do not go together, a `RangeError` for a negative
 * `eps`.
 *
 * @example Mean square 1
 * ```ts
 * import { CpuDevice, rmsNorm, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[2, -2], [-30, 30]], { device });
 * using y = rmsNorm(x, undefined, { eps: 0 });
 * assert.deepEqual(await y.toArray(), [[1, -1], [-1, 1]]);
 * ```
 */
export function rmsNorm(x: Tensor, weight?: Tensor, options: NormOptions = {}): Tensor {
  const device = sameDevice("rmsNorm", x, weight);
  const { rows, columns, eps } = normParams("rmsNorm", x, { weight }, options);
  const inputs = weight ? [x, weight] : [x];
  const y = Tensor.empty(device, x.shape, x.dtype);
  if (!needsGrad(inputs)) {
    device.launch(forward, { x, weight, y }, { rows, columns, eps });
    return y;
  }
  const rstd = Tensor.empty(device, [rows]);
  device.launch(forward, { x, weight, y, rstd }, { rows, columns, eps });
  record("rmsNorm", inputs, y, [x, rstd, ...inputs.slice(1)], (dOut, [x, rstd, weight], wanted) => {
    const dX = wanted[0] ? Tensor.empty(device, x.shape, x.dtype) : null;
    if (dX) device.launch(layerNormBackward, { dOut, x, weight, rstd, dX }, { rows, columns });
    if (!weight) return [dX];
    const dtypes = { dWeight: wanted[1] ? weight.dtype : undefined };
    return [dX, sumOverRows({ dOut, x, rstd }, rows, columns, dtypes).dWeight];
  });
  rstd.dispose();
  return y;
}
