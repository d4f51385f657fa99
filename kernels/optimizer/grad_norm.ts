/**
 * The norm of all gradients, and the factor that clips them.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import sumOfSquaresWgsl from "./sum_of_squares.wgsl" with { type: "text" };
import clipFactorWgsl from "./clip_factor.wgsl" with { type: "text" };

/** The number of elements in one partial sum of squares. */
export const SQUARES_BLOCK = 4096;

/** Parameters of {@linkcode sumOfSquares}. */
export type SumOfSquaresParams = {
  /** The elements of x. */
  count: number;
  /** The index of the first sum in `partials`. */
  first: number;
};

/**
 * partials[first + b] (f32) = the sum of the squares of elements 4,096 b to 4,096 (b + 1) of x (count, f32 or f16).
 * The order of summation is fixed.
 */
export const sumOfSquares: Kernel<SumOfSquaresParams> = kernel<SumOfSquaresParams>({
  name: "sum_of_squares",
  bindings: {
    x: { read: "count" },
    partials: { write: "*", dtype: "f32" },
  },
  params: { count: "u32", first: "u32" },
  gpu: ({ count }, { software }: GpuTarget) => ({
    wgsl: sumOfSquaresWgsl,
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
    run("sum_blocks", blocks, 4, at.x!, count, at.partials! + 4 * first, 1);
    return true;
  },
});

/** Parameters of {@linkcode clipFactor}. */
export type ClipFactorParams = {
  /** The number of sums in `partials`. */
  count: number;
  /** The maximum norm; 0 for no limit. */
  maxNorm: number;
  /** 1 if `lossScale` is given, otherwise 0. */
  scaled: number;
};

/**
 * norm (1) = the square root of the sum of partials (count), divided by `lossScale` (1) if given. factor (1), by
 * which the gradients are to be multiplied, = min(1, maxNorm / norm), also divided by `lossScale`. It is 0 if and
 * only if the norm is not finite.
 */
export const clipFactor: Kernel<ClipFactorParams> = kernel<ClipFactorParams>({
  name: "clip_factor",
  bindings: {
    partials: { read: "count", dtype: "f32" },
    lossScale: { read: "1", dtype: "f32", optional: true },
    norm: { write: "1", dtype: "f32" },
    factor: { write: "1", dtype: "f32" },
  },
  params: { count: "u32", maxNorm: "f32", scaled: "u32" },
  gpu({ count }, { software }: GpuTarget) {
    const size = software && count <= 8 * 1024 ? 8 : 256;
    return {
      wgsl: clipFactorWgsl,
      constants: { SIZE: size },
      workgroups: 1,
      iterations: Math.ceil(count / size) + Math.log2(size),
    };
  },
  cpu({ partials, lossScale, norm, factor }, { count, maxNorm }) {
    const unscale = lossScale ? 1 / lossScale[0] : 1;
    let sum = 0;
    for (let i = 0; i < count; i++) sum += partials[i];
    const total = Math.fround(sum); // what overflows on a GPU is to overflow here
    const length = Math.sqrt(total) * unscale;
    norm[0] = length;
    const kept = maxNorm > 0 && length > maxNorm ? maxNorm / length : 1;
    factor[0] = Number.isFinite(total) ? unscale * kept : 0;
  },
});
