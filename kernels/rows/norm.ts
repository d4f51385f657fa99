/**
 * Layer and RMS normalisation of rows, and their gradients.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import layerNormWgsl from "./layer_norm.wgsl" with { type: "text" };
import rmsNormWgsl from "./rms_norm.wgsl" with { type: "text" };
import layerNormBackwardWgsl from "./layer_norm_backward.wgsl" with { type: "text" };
import columnSumsWgsl from "./column_sums.wgsl" with { type: "text" };

/** Parameters of {@linkcode layerNorm}. */
export type NormParams = {
  /** The rows, each normalised independently. */
  rows: number;
  /** The elements of a row. */
  columns: number;
  /** Added to the variance. */
  eps: number;
};

const layerNormSources = rowSources(layerNormWgsl);

/**
 * y (rows, columns) = (x - mean) * rstd [* weight] [+ bias] with weight and bias (columns), and the mean and rstd = 1
 * / sqrt(variance + eps) of each row, which are written to `mean` and `rstd` (rows) if these are given.
 */
export const layerNorm: Kernel<NormParams> = kernel<NormParams>({
  name: "layer_norm",
  bindings: {
    x: { read: "rows columns" },
    weight: { read: "columns", optional: true },
    bias: { read: "columns", optional: true },
    y: { write: "rows columns" },
    mean: { write: "rows", dtype: "f32", optional: true },
    rstd: { write: "rows", dtype: "f32", optional: true },
  },
  params: { rows: "u32", columns: "u32", eps: "f32" },
  gpu: ({ rows, columns }, target) =>
    rowProgram(layerNormSources, target, { rows, columns, passes: 3, axis: "columns" }),
  cpu({ x, weight, bias, y, mean, rstd }, { rows, columns, eps }) {
    for (let row = 0; row < rows; row++) {
      const first = row * columns, end = first + columns;
      let center = 0, variance = 0;
      for (let i = first; i < end; i++) center += x[i] / columns;
      for (let i = first; i < end; i++) variance += (x[i] - center) ** 2 / columns;
      const scale = 1 / Math.sqrt(variance + eps);
      for (let i = 0; i < columns; i++) {
        y[first + i] = (x[first + i] - center) * scale * (weight?.[i] ?? 1) + (bias?.[i] ?? 0);
      }
      if (mean) mean[row] = center;
      if (rstd) rstd[row] = scale;
    }
  },
  simd({ at, params: { rows, columns, eps }, run }) {
    // deno-fmt-ignore
    run("layer_norm", rows, rowChunk(columns), at.x!, at.weight!, at.bias!, at.y!, at.mean!, at.rstd!,
      columns, eps);
    return true;
  },
  split: "rows",
});

const rmsNormSources = rowSources(rmsNormWgsl);

/** Parameters of {@linkcode rmsNorm}. */
export type RmsNormParams = NormParams & {
  /** Added to the weights. */
  offset: number;
};

/**
 * y (rows, columns) = x * rstd [* (weight + offset) (columns)] with rstd = 1 / sqrt(mean(x^2) + eps) of each row,
 * which is written to `rstd` (rows) if that is given. Its gradients are those of `layer_norm` without a mean.
 */
export const rmsNorm: Kernel<RmsNormParams> = kernel<RmsNormParams>({
  name: "rms_norm",
  bindings: {
    x: { read: "rows columns" },
    weight: { read: "columns", optional: true },
    y: { write: "rows columns" },
    rstd: { write: "rows", dtype: "f32", optional: true },
  },
  params: { rows: "u32", columns: "u32", eps: "f32", offset: "f32" },
  gpu: ({ rows, columns }, target) =>
    rowProgram(rmsNormSources, target, { rows, columns, passes: 2, axis: "columns" }),
  cpu({ x, weight, y, rstd }, { rows, columns, eps, offset }) {
    for (let row = 0; row < rows; row++) {
      const first = row * columns;
      let square = 0;
      for (let i = first; i < first + columns; i++) square += x[i] ** 2 / columns;
      const scale = 1 / Math.sqrt(square + eps);
      for (let i = 0; i < columns; i++) {
        y[first + i] = x[first + i] * scale * (weight ? weight[i] + offset : 1);
      }
      if (rstd) rstd[row] = scale;
    }
  },
  simd({ at, params: { rows, columns, eps, offset }, run }) {
    // deno-fmt-ignore
    run("rms_norm", rows, rowChunk(columns), at.x!, at.weight!, at.y!, at.rstd!, columns, eps, offset);
    return true;
  },
  split: "rows",
});

/** Parameters of {@linkcode layerNormBackward}. */
export type NormBackwardParams = {
  /** The number of rows. */
  rows: number;
  /** The elements of a row. */
  columns: number;
  /** 1 to add to the content of dX. */
  accumulate: number;
};

const layerNormBackwardSources = rowSources(layerNormBackwardWgsl);

/**
 * dX (rows, columns) = rstd * (g - mean(g) - h * mean(g * h)) with g = dOut [* weight] and h = (x - mean) * rstd,
 * from the mean and rstd (rows) of `layer_norm`. Without a mean it is the gradient of `rms_norm`: h = x * rstd and no
 * mean(g). With `accumulate` it is added to the content of dX.
 */
export const layerNormBackward: Kernel<NormBackwardParams> = kernel<NormBackwardParams>({
  name: "layer_norm_backward",
  bindings: {
    dOut: { read: "rows columns" },
    x: { read: "rows columns" },
    weight: { read: "columns", optional: true },
    mean: { read: "rows", dtype: "f32", optional: true },
    rstd: { read: "rows", dtype: "f32" },
    dX: { update: "rows columns" },
  },
  params: { rows: "u32", columns: "u32", accumulate: "u32" },
  gpu: ({ rows, columns }, target) =>
    rowProgram(layerNormBackwardSources, target, { rows, columns, passes: 2, axis: "columns" }),
  cpu({ dOut, x, weight, mean, rstd, dX }, { rows, columns, accumulate }) {
    for (let row = 0; row < rows; row++) {
      const first = row * columns;
      const center = mean ? mean[row] : 0, scale = rstd[row];
      let a = 0, b = 0;
      for (let i = 0; i < columns; i++) {
        const g = dOut[first + i] * (weight?.[i] ?? 1);
        if (mean) a += g / columns;
        b += g * (x[first + i] - center) * scale / columns;
      }
      for (let i = 0; i < columns; i++) {
        const g = dOut[first + i] * (weight?.[i] ?? 1);
        const d = (g - a - (x[first + i] - center) * scale * b) * scale;
        dX[first + i] = d + (accumulate ? dX[first + i] : 0);
      }
    }
  },
  simd({ at, params: { rows, columns, accumulate }, run }) {
    if (accumulate) return false;
    // deno-fmt-ignore
    run("layer_norm_backward", rows, rowChunk(columns), at.dOut!, at.x!, at.weight!, at.mean!, at.rstd!,
      at.dX!, columns);
    return true;
  },
  split: "rows",
});

/** Parameters of {@linkcode columnSums}. */
export type ColumnSumParams = {
  /** The number of rows. */
  rows: number;
  /** The elements of a row. */
  columns: number;
  /** 1 to add to the content of dWeight. */
  addWeight: number;
  /** 1 to add to the content of dBias. */
  addBias: number;
};

/**
 * dBias (columns) = the sum over the rows of dOut (rows, columns), dWeight (columns) = that of dOut * (x - mean) *
 * rstd; either may be omitted, and x and rstd together with dWeight. Without a mean, these are the gradients of
 * `rms_norm`.
 */
export const columnSums: Kernel<ColumnSumParams> = kernel<ColumnSumParams>({
  name: "column_sums",
  bindings: {
    dOut: { read: "rows columns" },
    x: { read: "rows columns", optional: true },
    mean: { read: "rows", dtype: "f32", optional: true },
    rstd: { read: "rows", dtype: "f32", optional: true },
    dWeight: { update: "columns", optional: true },
    dBias: { update: "columns", optional: true },
  },
  params: { rows: "u32", columns: "u32", addWeight: "u32", addBias: "u32" },
  gpu({ rows, columns }, { software }: GpuTarget) {
    const vec4 = columns % 4 === 0 && "columns";
    const rowLanes = software ? 8 : 64;
    return {
      wgsl: columnSumsWgsl,
      vec4,
      constants: { ROW_LANES: rowLanes, SIZE: 4 * rowLanes },
      workgroups: Math.ceil(columns / (vec4 ? 16 : 4)),
      iterations: Math.ceil(rows / rowLanes) + 8,
    };
  },
  cpu({ dOut, x, mean, rstd, dWeight, dBias }, { rows, columns, addWeight, addBias }) {
    for (let column = 0; column < columns; column++) {
      let weights = 0, biases = 0;
      for (let row = 0; row < rows; row++) {
        const at = row * columns + column;
        if (dWeight) weights += dOut[at] * (x[at] - (mean ? mean[row] : 0)) * rstd[row];
        biases += dOut[at];
      }
      if (dWeight) dWeight[column] = weights + (addWeight ? dWeight[column] : 0);
      if (dBias) dBias[column] = biases + (addBias ? dBias[column] : 0);
    }
  },
  simd({ at, params: { rows, columns, addWeight, addBias }, run }) {
    if (!at.dWeight) {
      run("column_sum", columns, 64, at.dOut!, at.dBias!, rows, columns, addBias);
      return true;
    }
    if (addWeight || addBias) return false;
    // deno-fmt-ignore
    run("layer_norm_backward_params", columns, 64, at.dOut!, at.x!, at.mean!, at.rstd!, at.dWeight!, at.dBias!,
      rows, columns);
    return true;
  },
});
