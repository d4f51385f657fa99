/**
 * Layer normalisation.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./layer_norm.wgsl" with { type: "text" };
import { rowChunk, rowProgram, rowSources } from "./rows.ts";

/** Numbers of {@linkcode layerNorm}. */
export type NormParams = {
  /** Rows, each normalised by itself. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** Added to the variance. */
  eps: number;
};

const sources = rowSources(wgsl);

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
    rowProgram(sources, target, { rows, columns, passes: 3, axis: "columns" }),
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
    run("layer_norm", rows, rowChunk(columns), at.x, at.weight, at.bias, at.y, at.mean, at.rstd,
      columns, eps);
    return true;
  },
  split: "rows",
});
