/**
 * `y += a x`, which accumulates gradients.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./axpy.wgsl" with { type: "text" };

/** Parameters of {@linkcode axpy}. */
export type AxpyParams = {
  /** The number of elements. */
  count: number;
  /** The factor. */
  a: number;
};

/** y (count) += a * x (count); x may have another floating-point dtype than y. */
export const axpy: Kernel<AxpyParams> = kernel<AxpyParams>({
  name: "axpy",
  bindings: {
    x: { read: "count" },
    y: { update: "count" },
  },
  params: { count: "u32", a: "f32" },
  gpu: ({ count }, { software }) => {
    const vec4 = count % 4 === 0 && "count";
    // Each invocation has a cost on a software adapter; a GPU needs many.
    const perInvocation = software && count >= 65536 ? 16 : 1;
    return {
      wgsl,
      vec4,
      constants: { PER_INVOCATION: perInvocation },
      workgroups: Math.ceil(count / ((vec4 ? 4 : 1) * 64 * perInvocation)),
    };
  },
  cpu({ x, y }, { count, a }) {
    for (let i = 0; i < count; i++) y[i] += a * x[i];
  },
  simd({ at, params: { count, a }, run }) {
    run("axpy", count, 16_384, a, at.x!, at.y!);
    return true;
  },
  split: "count",
});
