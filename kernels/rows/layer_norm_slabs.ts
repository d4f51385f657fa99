/**
 * Adds up what `layer_norm_backward_params` left in slabs.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./layer_norm_slabs.wgsl" with { type: "text" };

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
    return { wgsl, vec4, workgroups, iterations: slabs };
  },
  cpu({ x, y }, { slabs, columns }) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let slab = 0; slab < slabs; slab++) sum += x[slab * columns + column];
      y[column] = sum;
    }
  },
  simd({ at, params: { slabs, columns }, run }) {
    run("column_sum", columns, 64, at.x, at.y, slabs, columns, 0);
    return true;
  },
});
