/**
 * `y += a x`, which adds gradients up.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import wgsl from "./axpy.wgsl" with { type: "text" };

/** Numbers of {@linkcode axpy}. */
export type AxpyParams = {
  /** Elements. */
  count: number;
  /** The factor. */
  a: number;
};

/** y (count) += a * x (count); x may have another float type than y. */
export const axpy: Kernel<AxpyParams> = kernel({
  name: "axpy",
  bindings: { x: "read", y: "update" },
  params: { count: "u32", a: "f32" },
  gpu: ({ count }, { dtypes }) => ({
    wgsl,
    constants: { T: dtypes.y, X: dtypes.x },
    workgroups: Math.ceil(count / 64),
  }),
  cpu({ x, y }, { count, a }) {
    for (let i = 0; i < count; i++) y[i] += a * x[i];
  },
  split: { along: "count", elements: { x: () => 1, y: () => 1 } },
});
