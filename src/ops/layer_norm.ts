/**
 * Layer normalisation.
 *
 * @module
 */
import { layerNorm as forward } from "../../kernels/rows/layer_norm.ts";
import { layerNormBackward } from "../../kernels/rows/layer_norm_backward.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice } from "./check.ts";
import { type NormOptions, normParams, sumOverRows } from "./norm_launch.ts";

export type { NormOptions };

/**
 * `(x - mean) / sqrt(variance + eps) * weight + bias` over the last axis (Ba et al., 2016), the variance
 * biased as in PyTorch. x (..., C), weight and bias (C), each of which may be left out; the shape stays.
 * Sums are in f32 for `f16` too.
 *
 * Throws a `TypeError` when shapes, dtypes or devices do not go together, a `RangeError` for a negative
 * `eps`.
 *
 * @example Mean 0, variance 1
 * ```ts
 * import { CpuDevice, layerNorm, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 3], [0, 200]], { device });
 * using y = layerNorm(x, undefined, undefined, { eps: 0 });
 * assert.deepEqual(await y.toArray(), [[-1, 1], [-1, 1]]);
 * ```
 */
export function layerNorm(
  x: Tensor,
  weight?: Tensor,
  bias?: Tensor,
  options: NormOptions = {},
): Tensor {
  const device = sameDevice("layerNorm", x, weight, bias);
  const { rows, columns, eps } = normParams("layerNorm", x, { weight, bias }, options);
  const inputs = [x, weight, bias].filter((input) => input !== undefined);
  const y = Tensor.empty(device, x.shape, x.dtype);
  if (!needsGrad(inputs)) {
    device.launch(forward, { x, weight, bias, y }, { rows, columns, eps });
    return y;
  }
  const mean = Tensor.empty(device, [rows]), rstd = Tensor.empty(device, [rows]);
  device.launch(forward, { x, weight, bias, y, mean, rstd }, { rows, columns, eps });
  const saved = weight ? [x, mean, rstd, weight] : [x, mean, rstd];
  record("layerNorm", inputs, y, saved, (dOut, [x, mean, rstd, weight], wanted) => {
    const wantsWeight = weight !== undefined && wanted[1];
    const wantsBias = bias !== undefined && wanted.at(-1)!;
    const dX = wanted[0] ? Tensor.empty(device, x.shape, x.dtype) : null;
    if (dX) {
      device.launch(layerNormBackward, { dOut, x, weight, mean, rstd, dX }, { rows, columns });
    }
    const sums = sumOverRows({ dOut, x, mean, rstd }, rows, columns, {
      dWeight: wantsWeight ? weight.dtype : undefined,
      dBias: wantsBias ? bias.dtype : undefined,
    });
    return [dX, ...(weight ? [sums.dWeight] : []), ...(bias ? [sums.dBias] : [])];
  });
  mean.dispose();
  rstd.dispose();
  return y;
}
