/**
 * The gradient of layer and RMS normalisation with respect to what is normalised.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import wgsl from "./layer_norm_backward.wgsl" with { type: "text" };
import { rowChunk, rowProgram, rowSources } from "./rows.ts";

/** Numbers of {@linkcode layerNormBackward}. */
export type NormBackwardParams = {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
};

const sources = rowSources(wgsl);

/**
 * dx (rows, columns) = rstd * (g - mean(g) - h * mean(g * h)) with g = dy [* weight] and
 * h = (x - mean) * rstd, from the mean and rstd (rows) that `layer_norm` kept. Without a mean it is the
 * gradient of `rms_norm`: h = x * rstd and no mean(g).
 */
export const layerNormBackward: Kernel<NormBackwardParams> = kernel({
  name: "layer_norm_backward",
  bindings: {
    dy: "read",
    x: "read",
    weight: "read",
    mean: "read",
    rstd: "read",
    dx: "write",
  },
  optional: ["weight", "mean"],
  params: { rows: "u32", columns: "u32" },
  gpu({ rows, columns }, target) {
    const { dy, x, weight, mean, dx } = target.dtypes;
    return rowProgram(sources, target, {
      rows,
      columns,
      passes: 2,
      along: { G: dy, X: x, W: weight, D: dx },
      constants: { HAS_WEIGHT: weight !== undefined, HAS_MEAN: mean !== undefined },
    });
  },
  cpu({ dy, x, weight, mean, rstd, dx }, { rows, columns }) {
    for (let row = 0; row < rows; row++) {
      const first = row * columns;
      const center = mean ? mean[row] : 0, scale = rstd[row];
      let a = 0, b = 0;
      for (let i = 0; i < columns; i++) {
        const g = dy[first + i] * (weight?.[i] ?? 1);
        if (mean) a += g / columns;
        b += g * (x[first + i] - center) * scale / columns;
      }
      for (let i = 0; i < columns; i++) {
        const g = dy[first + i] * (weight?.[i] ?? 1);
        dx[first + i] = (g - a - (x[first + i] - center) * scale * b) * scale;
      }
    }
  },
  simd({ at, params: { rows, columns }, run }) {
    // deno-fmt-ignore
    run("layer_norm_backward", rows, rowChunk(columns), at.dy, at.x, at.weight, at.mean, at.rstd,
      at.dx, columns);
    return true;
  },
  split: {
    along: "rows",
    elements: {
      dy: ({ columns }) => columns,
      x: ({ columns }) => columns,
      mean: () => 1,
      rstd: () => 1,
      dx: ({ columns }) => columns,
    },
  },
});
