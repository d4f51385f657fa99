/**
 * The second half of a norm, and the factor that clips gradients to it.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./clip_factor.wgsl" with { type: "text" };

/** Numbers of {@linkcode clipFactor}. */
export type ClipFactorParams = {
  /** Sums in `partials`. */
  count: number;
  /** The longest norm allowed; 0 for any. */
  maxNorm: number;
  /** 1 where `lossScale` is given, else 0. */
  scaled: number;
};

/**
 * norm (1) = the root of the sum of partials (count), divided by `lossScale` (1) where it is given; factor
 * (1) = min(1, maxNorm / norm), also divided by it: what the gradients are to be multiplied with. The factor
 * is 0 where the norm is not finite, and only there.
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
      wgsl,
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
