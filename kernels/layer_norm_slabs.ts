/**
 * Adds up what `layer_norm_backward_params` left in slabs.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import wgsl from "./layer_norm_slabs.wgsl" with { type: "text" };
import common from "./rows.wgsl" with { type: "text" };

/** Numbers of {@linkcode layerNormSlabs}. */
export type SlabParams = {
  /** Slabs. */
  slabs: number;
  /** Elements of a slab. */
  columns: number;
};

const source = common + wgsl;

/** y (columns) = the sum of x (slabs, columns) over the slabs. */
export const layerNormSlabs: Kernel<SlabParams> = kernel({
  name: "layer_norm_slabs",
  bindings: { x: "read", y: "write" },
  params: { slabs: "u32", columns: "u32" },
  gpu({ slabs, columns }, { dtypes }) {
    const vector = columns % 4 === 0;
    const as = (type: string) => vector ? `vec4<${type}>` : type;
    return {
      wgsl: source,
      constants: { X: as(dtypes.x), Y: as(dtypes.y), F: as("f32"), I: as("u32"), VECTOR: vector },
      workgroups: [Math.ceil(columns / (vector ? 128 : 32))],
      iterations: slabs,
    };
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
