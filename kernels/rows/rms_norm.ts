/**
 * Root mean square normalisation.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import type { NormParams } from "./layer_norm.ts";
import wgsl from "./rms_norm.wgsl" with { type: "text" };
import { rowChunk, rowProgram, rowSources } from "./rows.ts";

const sources = rowSources(wgsl);

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
    rowProgram(sources, target, { rows, columns, passes: 2, axis: "columns" }),
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
    run("rms_norm", rows, rowChunk(columns), at.x, at.weight, at.y, at.rstd, columns, eps);
    return true;
  },
  split: "rows",
});
