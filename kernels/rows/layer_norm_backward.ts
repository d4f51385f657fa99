/**
 * The gradient of layer and RMS normalisation with respect to what is normalised.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./layer_norm_backward.wgsl" with { type: "text" };
import { rowChunk, rowProgram, rowSources } from "./rows.ts";

/** Numbers of {@linkcode layerNormBackward}. */
export type NormBackwardParams = {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** 1 to add to what dX holds. */
  accumulate: number;
};

const sources = rowSources(wgsl);

/**
 * dX (rows, columns) = rstd * (g - mean(g) - h * mean(g * h)) with g = dOut [* weight] and
 * h = (x - mean) * rstd, from the mean and rstd (rows) that `layer_norm` kept. Without a mean it is the
 * gradient of `rms_norm`: h = x * rstd and no mean(g). With `accumulate` it is added to what dX holds.
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
    rowProgram(sources, target, { rows, columns, passes: 2, axis: "columns" }),
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
    run("layer_norm_backward", rows, rowChunk(columns), at.dOut, at.x, at.weight, at.mean, at.rstd,
      at.dX, columns);
    return true;
  },
  split: "rows",
});
