/**
 * Sums over rows: the gradient of a bias, and those of weight and bias of layer and RMS normalisation.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./column_sums.wgsl" with { type: "text" };

/** Numbers of {@linkcode columnSums}. */
export type ColumnSumParams = {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** 1 to add to what dWeight holds. */
  addWeight: number;
  /** 1 to add to what dBias holds. */
  addBias: number;
};

/**
 * dBias (columns) = the sum of dOut (rows, columns) over the rows, dWeight (columns) that of dOut * (x - mean) * rstd,
 * or added to them; either may be left out, and without dWeight x and rstd, too. Without a mean, that of `rms_norm`.
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
      wgsl,
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
      run("column_sum", columns, 64, at.dOut, at.dBias, rows, columns, addBias);
      return true;
    }
    if (addWeight || addBias) return false;
    // deno-fmt-ignore
    run("layer_norm_backward_params", columns, 64, at.dOut, at.x, at.mean, at.rstd, at.dWeight, at.dBias,
      rows, columns);
    return true;
  },
});
