/**
 * Layer and root mean square normalisation.
 *
 * @module
 */
import {
  layerNorm as layerNormKernel,
  layerNormBackward,
  layerNormBackwardParams,
  layerNormSlabs,
  rmsNorm as rmsNormKernel,
} from "../../kernels/rows/norm.ts";
import type { Binding } from "../device/device.ts";
import { BYTES, type DType } from "../device/dtype.ts";
import { MAX_ITERATIONS } from "../device/kernel.ts";
import { formatShape, sizeOf } from "../tensor/shape.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice } from "./check.ts";

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
    device.launch(layerNormKernel, { x, weight, bias, y }, { rows, columns, eps });
    return y;
  }
  const mean = Tensor.empty(device, [rows]), rstd = Tensor.empty(device, [rows]);
  device.launch(layerNormKernel, { x, weight, bias, y, mean, rstd }, { rows, columns, eps });
  const saved = [x, mean, rstd, weight] as const;
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
    device.launch(rmsNormKernel, { x, weight, y }, { rows, columns, eps });
    return y;
  }
  const rstd = Tensor.empty(device, [rows]);
  device.launch(rmsNormKernel, { x, weight, y, rstd }, { rows, columns, eps });
  const saved = [x, rstd, weight] as const;
  record("rmsNorm", inputs, y, saved, (dOut, [x, rstd, weight], wanted) => {
    const dX = wanted[0] ? Tensor.empty(device, x.shape, x.dtype) : null;
    if (dX) device.launch(layerNormBackward, { dOut, x, weight, rstd, dX }, { rows, columns });
    if (!weight) return [dX];
    const dtypes = { dWeight: wanted[1] ? weight.dtype : undefined };
    return [dX, sumOverRows({ dOut, x, rstd }, rows, columns, dtypes).dWeight];
  });
  rstd.dispose();
  return y;
}

/** Options of `layerNorm` and `rmsNorm`. */
export interface NormOptions {
  /** Added to the variance, inside the square root. Default: 1e-5. */
  readonly eps?: number;
}

/** Rows, columns and eps of a normalisation, all checked. */
function normParams(
  op: string,
  x: Tensor,
  parameters: Readonly<Record<string, Tensor | undefined>>,
  options: NormOptions,
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

/**
 * The gradients of weight and bias, of the dtypes that are given. On a GPU rows are added up in slabs side
 * by side and then the slabs, always in the same order; on the CPU threads share the columns instead.
 */
function sumOverRows(
  inputs: { dOut: Tensor; x: Tensor; mean?: Tensor; rstd: Tensor },
  rows: number,
  columns: number,
  dtypes: { dWeight?: DType | undefined; dBias?: DType | undefined },
): { dWeight: Tensor | null; dBias: Tensor | null } {
  const { device } = inputs.dOut;
  // Whole 64s keep the first byte of every slab on a boundary that can be bound.
  const slabRows = device.kind === "cpu"
    ? Math.max(1, rows)
    : Math.min(MAX_ITERATIONS, 64 * Math.max(1, Math.ceil(rows / 64 / 128)));
  const slabs = Math.max(1, Math.ceil(rows / slabRows));
  const results = { dWeight: null as Tensor | null, dBias: null as Tensor | null };
  const sums: { dWeight?: Tensor; dBias?: Tensor } = {};
  for (const name of ["dWeight", "dBias"] as const) {
    const dtype = dtypes[name];
    if (!dtype) continue;
    results[name] = Tensor.empty(device, [columns], dtype);
    sums[name] = slabs === 1 ? results[name]! : Tensor.empty(device, [slabs, columns]);
  }
  if (!sums.dWeight && !sums.dBias) return results;
  // No more rows at a time than can be bound.
  const bytes = columns * Math.max(BYTES[inputs.x.dtype], BYTES[inputs.dOut.dtype]);
  const slabsAtOnce = Math.max(1, Math.floor(device.maxBindingBytes / (bytes * slabRows || 1)));
  for (let firstSlab = 0; firstSlab < slabs; firstSlab += slabsAtOnce) {
    const first = firstSlab * slabRows;
    const count = Math.min(rows - first, slabsAtOnce * slabRows);
    const part = (whole: Tensor, width: number): Binding => ({
      buffer: whole.buffer,
      dtype: whole.dtype,
      offset: first * width,
      size: count * width,
    });
    device.launch(layerNormBackwardParams, {
      dOut: part(inputs.dOut, columns),
      x: part(inputs.x, columns),
      mean: inputs.mean && part(inputs.mean, 1),
      rstd: part(inputs.rstd, 1),
      ...sums,
    }, { rows: count, columns, slabRows, firstSlab });
  }
  if (slabs > 1) {
    for (const name of ["dWeight", "dBias"] as const) {
      if (!sums[name]) continue;
      device.launch(layerNormSlabs, { x: sums[name], y: results[name]! }, { slabs, columns });
      sums[name].dispose();
    }
  }
  return results;
}
