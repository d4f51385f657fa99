/**
 * Layer and RMS normalisation of rows, and their gradients.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import layerNormWgsl from "./layer_norm.wgsl" with { type: "text" };
import rmsNormWgsl from "./rms_norm.wgsl" with { type: "text" };
import layerNormBackwardWgsl from "./layer_norm_backward.wgsl" with { type: "text" };
import layerNormBackwardParamsWgsl from "./layer_norm_backward_params.wgsl" with { type: "text" };
import layerNormSlabsWgsl from "./layer_norm_slabs.wgsl" with { type: "text" };

/** Numbers of {@linkcode layerNorm}. */
export type NormParams = {
  /** Rows, each normalised by itself. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** Added to the variance. */
  eps: number;
};

const layerNormSources = rowSources(layerNormWgsl);

/**
 * y (rows, columns) = (x - mean) * rstd [* weight] [+ bias] with weight and bias (columns), and mean and
 * rstd = 1 / sqrt(variance + eps) of each row, which are kept where they are given (rows).
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

/**
 * y (rows, columns) = x * rstd [* weight (columns)] with rstd = 1 / sqrt(mean(x^2) + eps) of each row, which
 * is kept where it is given (rows). Its gradients are those of `layer_norm` without a mean.
 */
export const rmsNorm: Kernel<NormParams> = kernel<NormParams>({
  name: "rms_norm",
  bindings: {
    x: { read: "rows columns" },
    weight: { read: "columns", optional: true },
    y: { write: "rows columns" },
    rstd: { write: "rows", dtype: "f32", optional: true },
  },
  params: { rows: "u32", columns: "u32", eps: "f32" },
  gpu: ({ rows, columns }, target) =>
    rowProgram(rmsNormSources, target, { rows, columns, passes: 2, axis: "columns" }),
  cpu({ x, weight, y, rstd }, { rows, columns, eps }) {
    for (let row = 0; row < rows; row++) {
      const first = row * columns;
      let square = 0;
      for (let i = first; i < first + columns; i++) square += x[i] ** 2 / columns;
      const scale = 1 / Math.sqrt(square + eps);
      for (let i = 0; i < columns; i++) y[first + i] = x[first + i] * scale * (weight?.[i] ?? 1);
      if (rstd) rstd[row] = scale;
    }
  },
  simd({ at, params: { rows, columns, eps }, run }) {
    run("rms_norm", rows, rowChunk(columns), at.x!, at.weight!, at.y!, at.rstd!, columns, eps);
    return true;
  },
  split: "rows",
});

/** Numbers of {@linkcode layerNormBackward}. */
export type NormBackwardParams = {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
};

const layerNormBackwardSources = rowSources(layerNormBackwardWgsl);

/**
 * dX (rows, columns) = rstd * (g - mean(g) - h * mean(g * h)) with g = dOut [* weight] and
 * h = (x - mean) * rstd, from the mean and rstd (rows) that `layer_norm` kept. Without a mean it is the
 * gradient of `rms_norm`: h = x * rstd and no mean(g).
 */
export const layerNormBackward: Kernel<NormBackwardParams> = kernel<NormBackwardParams>({
  name: "layer_norm_backward",
  bindings: {
    dOut: { read: "rows columns" },
    x: { read: "rows columns" },
    weight: { read: "columns", optional: true },
    mean: { read: "rows", dtype: "f32", optional: true },
    rstd: { read: "rows", dtype: "f32" },
    dX: { write: "rows columns" },
  },
  params: { rows: "u32", columns: "u32" },
  gpu: ({ rows, columns }, target) =>
    rowProgram(layerNormBackwardSources, target, { rows, columns, passes: 2, axis: "columns" }),
  cpu({ dOut, x, weight, mean, rstd, dX }, { rows, columns }) {
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
        dX[first + i] = (g - a - (x[first + i] - center) * scale * b) * scale;
      }
    }
  },
  simd({ at, params: { rows, columns }, run }) {
    // deno-fmt-ignore
    run("layer_norm_backward", rows, rowChunk(columns), at.dOut!, at.x!, at.weight!, at.mean!, at.rstd!,
      at.dX!, columns);
    return true;
  },
  split: "rows",
});

/** Numbers of {@linkcode layerNormBackwardParams}. */
export type NormBackwardSumParams = {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** Rows that are added up into one slab. At most 65,535 slabs. */
  slabRows: number;
  /** The slab of the outputs that the first row belongs to. */
  firstSlab: number;
};

/**
 * dWeight (slabs, columns) = sums of dOut * (x - mean) * rstd over runs of `slabRows` rows, dBias (slabs,
 * columns) those of dOut; either may be left out. Without a mean, that of `rms_norm`.
 */
export const layerNormBackwardParams: Kernel<NormBackwardSumParams> = kernel<NormBackwardSumParams>(
  {
    name: "layer_norm_backward_params",
    bindings: {
      dOut: { read: "rows columns" },
      x: { read: "rows columns" },
      mean: { read: "rows", dtype: "f32", optional: true },
      rstd: { read: "rows", dtype: "f32" },
      dWeight: { write: "* columns", optional: true },
      dBias: { write: "* columns", optional: true },
    },
    params: { rows: "u32", columns: "u32", slabRows: "u32", firstSlab: "u32" },
    gpu({ rows, columns, slabRows }) {
      const vec4 = columns % 4 === 0 && "columns";
      return {
        wgsl: layerNormBackwardParamsWgsl,
        vec4,
        workgroups: [
          Math.ceil(columns / (vec4 ? 128 : 32)),
          Math.max(1, Math.ceil(rows / slabRows)),
        ],
        iterations: Math.min(rows, slabRows),
      };
    },
    cpu(views, { rows, columns, slabRows, firstSlab }) {
      const { dOut, x, mean, rstd, dWeight, dBias } = views;
      // No rows make one slab all the same: of zeros.
      const slabs = Math.max(1, Math.ceil(rows / slabRows));
      for (let slab = 0; slab < slabs; slab++) {
        const end = Math.min(rows, (slab + 1) * slabRows);
        for (let column = 0; column < columns; column++) {
          let weights = 0, biases = 0;
          for (let row = slab * slabRows; row < end; row++) {
            const at = row * columns + column;
            weights += dOut[at] * (x[at] - (mean ? mean[row] : 0)) * rstd[row];
            biases += dOut[at];
          }
          const at = (firstSlab + slab) * columns + column;
          if (dWeight) dWeight[at] = weights;
          if (dBias) dBias[at] = biases;
        }
      }
    },
    simd({ at, params: { rows, columns, slabRows, firstSlab }, run }) {
      if (rows > slabRows || firstSlab > 0) return false;
      // deno-fmt-ignore
      run("layer_norm_backward_params", columns, 64, at.dOut!, at.x!, at.mean!, at.rstd!, at.dWeight!, at.dBias!,
      rows, columns);
      return true;
    },
  },
);

/** Numbers of {@linkcode layerNormSlabs}. */
export type SlabParams = {
  /** Slabs. */
  slabs: number;
  /** Elements of a slab. */
  columns: number;
};

/** y (columns) = the sum of x (slabs, columns) over the slabs. */
export const layerNormSlabs: Kernel<SlabParams> = kernel<SlabParams>({
  name: "layer_norm_slabs",
  bindings: {
    x: { read: "slabs columns", dtype: "f32" },
    y: { write: "columns" },
  },
  params: { slabs: "u32", columns: "u32" },
  gpu({ slabs, columns }) {
    const vec4 = columns % 4 === 0 && "columns";
    const workgroups = [Math.ceil(columns / (vec4 ? 128 : 32))] as const;
    return { wgsl: layerNormSlabsWgsl, vec4, workgroups, iterations: slabs };
  },
  cpu({ x, y }, { slabs, columns }) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let slab = 0; slab < slabs; slab++) sum += x[slab * columns + column];
      y[column] = sum;
    }
  },
  simd({ at, params: { slabs, columns }, run }) {
    run("column_sum", columns, 64, at.x!, at.y!, slabs, columns, 0);
    return true;
  },
});
