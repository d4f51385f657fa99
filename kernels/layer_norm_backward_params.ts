/**
 * The gradients of layer and RMS normalisation with respect to weight and bias.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import wgsl from "./layer_norm_backward_params.wgsl" with { type: "text" };
import common from "./rows.wgsl" with { type: "text" };

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

const source = common + wgsl;

/**
 * dWeight (slabs, columns) = sums of dy * (x - mean) * rstd over runs of `slabRows` rows, dBias (slabs,
 * columns) those of dy; either may be left out. Without a mean, that of `rms_norm`.
 */
export const layerNormBackwardParams: Kernel<NormBackwardSumParams> = kernel({
  name: "layer_norm_backward_params",
  bindings: {
    dy: "read",
    x: "read",
    mean: "read",
    rstd: "read",
    dWeight: "write",
    dBias: "write",
  },
  optional: ["mean", "dWeight", "dBias"],
  params: { rows: "u32", columns: "u32", slabRows: "u32", firstSlab: "u32" },
  gpu({ rows, columns, slabRows }, { dtypes }) {
    const vector = columns % 4 === 0;
    const along: Record<string, string> = {
      G: dtypes.dy,
      X: dtypes.x,
      W: dtypes.dWeight ?? "f32",
      B: dtypes.dBias ?? "f32",
      F: "f32",
      I: "u32",
    };
    if (vector) { for (const alias in along) along[alias] = `vec4<${along[alias]}>`; }
    return {
      wgsl: source,
      constants: {
        ...along,
        VECTOR: vector,
        HAS_MEAN: dtypes.mean !== undefined,
        HAS_WEIGHT: dtypes.dWeight !== undefined,
        HAS_BIAS: dtypes.dBias !== undefined,
      },
      workgroups: [
        Math.ceil(columns / (vector ? 128 : 32)),
        Math.max(1, Math.ceil(rows / slabRows)),
      ],
      iterations: Math.min(rows, slabRows),
    };
  },
  cpu(views, { rows, columns, slabRows, firstSlab }) {
    const { dy, x, mean, rstd, dWeight, dBias } = views;
    // No rows make one slab all the same: of zeros.
    const slabs = Math.max(1, Math.ceil(rows / slabRows));
    for (let slab = 0; slab < slabs; slab++) {
      const end = Math.min(rows, (slab + 1) * slabRows);
      for (let column = 0; column < columns; column++) {
        let weights = 0, biases = 0;
        for (let row = slab * slabRows; row < end; row++) {
          const at = row * columns + column;
          weights += dy[at] * (x[at] - (mean ? mean[row] : 0)) * rstd[row];
          biases += dy[at];
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
    run("layer_norm_backward_params", columns, 64, at.dy, at.x, at.mean, at.rstd, at.dWeight, at.dBias,
      rows, columns);
    return true;
  },
});
