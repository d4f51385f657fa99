/**
 * Sums of squares by blocks, the first half of a norm.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./sum_of_squares.wgsl" with { type: "text" };

/** Elements whose squares one partial sum holds. */
export const SQUARES_BLOCK = 4096;

/** Numbers of {@linkcode sumOfSquares}. */
export type SumOfSquaresParams = {
  /** Elements of x. */
  count: number;
  /** Where in `partials` the first sum goes. */
  first: number;
};

/**
 * partials[first + b] (f32) = the sum of the squares of elements 4,096 b to 4,096 (b + 1) of x (count, f32
 * or f16). Always added in the same order.
 */
export const sumOfSquares: Kernel<SumOfSquaresParams> = kernel<SumOfSquaresParams>({
  name: "sum_of_squares",
  bindings: {
    x: { read: "count" },
    partials: { write: "*", dtype: "f32" },
  },
  params: { count: "u32", first: "u32" },
  gpu: ({ count }, { software }: GpuTarget) => ({
    wgsl,
    vec4: count % 4 === 0 && "count",
    constants: { SIZE: software ? 8 : 64, BLOCK: SQUARES_BLOCK },
    workgroups: Math.ceil(count / SQUARES_BLOCK),
  }),
  cpu({ x, partials }, { count, first }) {
    for (let from = 0, block = first; from < count; from += SQUARES_BLOCK, block++) {
      const end = Math.min(from + SQUARES_BLOCK, count);
      let sum = 0;
      for (let i = from; i < end; i++) sum += x[i] * x[i];
      partials[block] = sum;
    }
  },
  simd({ at, params: { count, first }, run }) {
    const blocks = Math.ceil(count / SQUARES_BLOCK);
    run("sum_blocks", blocks, 4, at.x, count, at.partials + 4 * first, 1);
    return true;
  },
});
