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
};

/** y (count) *= scale (1). Costs next to nothing when the scale is 1, as it mostly is. */
export const crossEntropyScale: Kernel<CrossEntropyScaleParams> = kernel<CrossEntropyScaleParams>({
  name: "cross_entropy_scale",
  bindings: {
    scale: { read: "1", dtype: "f32" },
    y: { update: "count" },
  },
  params: { count: "u32" },
  gpu: ({ count }) => ({
    wgsl,
    vec4: count % 4 === 0 && "count",
    workgroups: Math.min(4096, Math.ceil(count / 1024)),
  }),
  cpu({ scale, y }, { count }) {
    const factor = scale[0];
    if (factor !== 1) { for (let i = 0; i < count; i++) y[i] *= factor; }
  },
  simd(job) {
    const { at, params: { count }, run } = job;
    const factor = numberAt(job, at.scale);
    if (factor !== 1) run("mul_scalar", count, 16384, at.y, factor, at.y);
    return true;
  },
  split: "count",
});
