/**
 * The gradients of layer and RMS normalisation with respect to weight and bias.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./layer_norm_backward_params.wgsl" with { type: "text" };

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
        wgsl,
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
      run("layer_norm_backward_params", columns, 64, at.dOut, at.x, at.mean, at.rstd, at.dWeight, at.dBias,
      rows, columns);
      return true;
    },
  },
);
