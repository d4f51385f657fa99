/**
 * Multiplies gradients by the gradient of the loss they belong to.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { numberAt } from "./rows.ts";
import wgsl from "./cross_entropy_scale.wgsl" with { type: "text" };

/** Numbers of {@linkcode crossEntropyScale}. */
export type CrossEntropyScaleParams = {
  /** Elements. */
  count: number;
  /** 1 to add to what y holds. */
  accumulate: number;
};

/** y (count) = scale (1) x (count), or y + scale x; computed in f32. */
export const crossEntropyScale: Kernel<CrossEntropyScaleParams> = kernel<CrossEntropyScaleParams>({
  name: "cross_entropy_scale",
  bindings: {
    scale: { read: "1", dtype: "f32" },
    x: { read: "count" },
    y: { update: "count" },
  },
  params: { count: "u32", accumulate: "u32" },
  gpu: ({ count }) => {
    const vec4 = count % 4 === 0 && "count";
    return { wgsl, vec4, workgroups: Math.ceil(count / (vec4 ? 1024 : 256)) };
  },
  cpu({ scale, x, y }, { count, accumulate }) {
    for (let i = 0; i < count; i++) y[i] = scale[0] * x[i] + (accumulate ? y[i] : 0);
  },
  simd(job) {
    const { at, params: { count, accumulate }, run } = job;
    const factor = numberAt(job, at.scale);
    if (accumulate) run("axpy", count, 16384, factor, at.x, at.y);
    else run("mul_scalar", count, 16384, at.x, factor, at.y);
    return true;
  },
  split: "count",
});
