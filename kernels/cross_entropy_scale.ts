/**
 * Multiplies gradients by the gradient of the loss they belong to.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import common from "./rows.wgsl" with { type: "text" };
import { numberAt } from "./rows.ts";
import wgsl from "./cross_entropy_scale.wgsl" with { type: "text" };

/** Numbers of {@linkcode crossEntropyScale}. */
export type CrossEntropyScaleParams = {
  /** Elements. */
  count: number;
};

const source = common + wgsl;

/** y (count) *= scale (1). Costs next to nothing when the scale is 1, as it mostly is. */
export const crossEntropyScale: Kernel<CrossEntropyScaleParams> = kernel({
  name: "cross_entropy_scale",
  bindings: { scale: "read", y: "update" },
  params: { count: "u32" },
  gpu({ count }, { dtypes }) {
    const constants: Record<string, string | boolean> = count % 4 === 0
      ? { Y: `vec4<${dtypes.y}>`, F: "vec4<f32>", I: "vec4<u32>", VECTOR: true }
      : { Y: dtypes.y };
    return { wgsl: source, constants, workgroups: Math.min(4096, Math.ceil(count / 1024)) };
  },
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
  split: { along: "count", elements: { y: () => 1 } },
});
