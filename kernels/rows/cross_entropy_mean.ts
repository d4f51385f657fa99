/**
 * The mean of the losses of rows.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./cross_entropy_mean.wgsl" with { type: "text" };
import { rowProgram, rowSources } from "./rows.ts";

/** Numbers of {@linkcode crossEntropyMean}. */
export type CrossEntropyMeanParams = {
  /** Rows. */
  rows: number;
};

const sources = rowSources(wgsl);

/** mean (1) = scale (1) * sum of loss (rows). */
export const crossEntropyMean: Kernel<CrossEntropyMeanParams> = kernel<CrossEntropyMeanParams>({
  name: "cross_entropy_mean",
  bindings: {
    loss: { read: "rows", dtype: "f32" },
    scale: { read: "1", dtype: "f32" },
    mean: { write: "1", dtype: "f32" },
  },
  params: { rows: "u32" },
  gpu: ({ rows }, target) =>
    // One pass, but in nested loops.
    rowProgram(sources, target, { rows: 1, columns: rows, passes: 2 }),
  cpu({ loss, scale, mean }, { rows }) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += loss[row];
    mean[0] = sum * scale[0];
  },
});
