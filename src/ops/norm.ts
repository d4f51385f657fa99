/**
 * Layer normalisation and root mean square normalisation.
 *
 * @module
 */
import {
  layerNorm as layerNormKernel,
  layerNormBackward,
  rmsNorm as rmsNormKernel,
} from "../../kernels/rows/norm.ts";
import { formatShape, sizeOf } from "../tensor/shape.ts";
import { type GradPlace, needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice } from "./check.ts";
import { add } from "./elementwise.ts";
import { placeFor, sumColumns } from "./launch.ts";

/**
 * Returns `(x - mean) / sqrt(variance + eps) * weight + bias` over the last axis (Ba et al., 2016), with the biased
 * variance as in PyTorch: x (..., C), weight and bias (C), each optional, give (..., C). Sums are in f32, also for
 * `f16`.
 *
 * Throws a `TypeError` if shapes, dtypes or devices do not match, and a `RangeError` if `eps` is negative.
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
  options?: NormOptions,
): Tensor {
  const device = sameDevice("layerNorm", x, weight, bias);
  const { rows, columns, eps } = normParams("layerNorm", x, { weight, bias }, options);
  const inputs = [x, weight, bias].filter((input) => input !== undefined);
  const y = Tensor.empty(device, x.shape, x.dtype);
  if (!needsGrad(inputs)) {
    device.launch(layerNormKernel, { x, weight, bias, y }, { rows, columns, eps });
    return y;
  }
  const mean = Tensor.empty(device, [rows]), rstd = Tensor.empty(device, [rows]);
  device.launch(layerNormKernel, { x, weight, bias, y, mean, rstd }, { rows, columns, eps });
  const saved = [x, mean, rstd, weight] as const;
  record("layerNorm", inputs, y, saved, (dOut, [x, mean, rstd, weight], wanted, places) => {
    const last = inputs.length - 1;
    const adds = device.kind !== "cpu"; // its SIMD code cannot accumulate
    const dX = wanted[0] ? normBackward({ dOut, x, weight, mean, rstd }, places[0]) : null;
    const dWeight = weight && wanted[1] ? placeFor(weight, places[1], adds) : undefined;
    const dBias = bias && wanted[last] ? placeFor(bias, places[last], adds) : undefined;
    sumColumns({ dOut, x, mean, rstd }, { dWeight, dBias });
    return [dX, ...(weight ? [dWeight?.y ?? null] : []), ...(bias ? [dBias?.y ?? null] : [])];
  });
  mean.dispose();
  rstd.dispose();
  return y;
}

/** Options of {@linkcode rmsNorm}. */
export interface RMSNormOptions extends NormOptions {
  /** Added to the weights: 1 for weights stored as their difference from 1, as Gemma's are. Default: 0. */
  readonly offset?: number | undefined;
}

/**
 * Returns `x / sqrt(mean(x^2) + eps) * (weight + offset)` over the last axis (Zhang and Sennrich, 2019): x (..., C) and
 * weight (C), which is optional, give (..., C). Sums are in f32, also for `f16`.
 *
 * Throws a `TypeError` if shapes, dtypes or devices do not match, and a `RangeError` if `eps` is negative.
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
export function rmsNorm(x: Tensor, weight?: Tensor, options?: RMSNormOptions): Tensor {
  const { offset = 0 } = options ?? {};
  const device = sameDevice("rmsNorm", x, weight);
  const { rows, columns, eps } = normParams("rmsNorm", x, { weight }, options);
  const inputs = weight ? [x, weight] : [x];
  const y = Tensor.empty(device, x.shape, x.dtype);
  if (!needsGrad(inputs)) {
    device.launch(rmsNormKernel, { x, weight, y }, { rows, columns, eps, offset });
    return y;
  }
  const rstd = Tensor.empty(device, [rows]);
  device.launch(rmsNormKernel, { x, weight, y, rstd }, { rows, columns, eps, offset });
  const saved = [x, rstd, weight] as const;
  record("rmsNorm", inputs, y, saved, (dOut, [x, rstd, weight], wanted, places) => {
    using factors = weight && offset ? add(weight, offset) : undefined;
    const dX = wanted[0]
      ? normBackward({ dOut, x, weight: factors ?? weight, rstd }, places[0])
      : null;
    if (!weight) return [dX];
    const dWeight = wanted[1] ? placeFor(weight, places[1], device.kind !== "cpu") : undefined;
    sumColumns({ dOut, x, rstd }, { dWeight });
    return [dX, dWeight?.y ?? null];
  });
  rstd.dispose();
  return y;
}

/** Options of `layerNorm` and `rmsNorm`. */
export interface NormOptions {
  /** Added to the variance or mean square, inside the square root. Default: 1e-5. */
  readonly eps?: number;
}

/** The checked rows, columns and eps of a normalisation. */
function normParams(
  op: string,
  x: Tensor,
  parameters: Readonly<Record<string, Tensor | undefined>>,
  options: NormOptions = {},
): { rows: number; columns: number; eps: number } {
  checkFloat(op, x);
  if (x.shape.length === 0) {
    throw new TypeError(`${op}: expected at least one axis but got shape []`);
  }
  const columns = x.shape.at(-1)!;
  for (const [name, parameter] of Object.entries(parameters)) {
    if (!parameter) continue;
    checkFloat(op, parameter);
    if (parameter.shape.length !== 1 || parameter.size !== columns) {
      throw new TypeError(
        `${op}: expected a ${name} of shape ${formatShape([columns])} for x of shape ` +
          `${formatShape(x.shape)} but got ${formatShape(parameter.shape)}`,
      );
    }
  }
  const { eps = 1e-5 } = options;
  if (!(eps >= 0)) throw new RangeError(`${op}: expected an eps of 0 or more but got ${eps}`);
  return { rows: sizeOf(x.shape.slice(0, -1)), columns, eps };
}

/** The gradient with respect to x, written or added to its place. */
function normBackward(
  inputs: {
    dOut: Tensor;
    x: Tensor;
    weight?: Tensor | undefined;
    mean?: Tensor;
    rstd: Tensor;
  },
  given: GradPlace | undefined,
): Tensor {
  const { x, rstd } = inputs;
  const { y: dX, accumulate } = placeFor(x, given, x.device.kind !== "cpu");
  const columns = x.shape.at(-1)!;
  x.device.launch(layerNormBackward, { ...inputs, dX }, {
    rows: rstd.size,
    columns,
    accumulate: Number(accumulate),
  });
  return dX;
}
