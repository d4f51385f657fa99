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
  gpu: ({ count }, { dtypes, software }) => {
    const width = count % 4 ? 1 : 4;
    const vector = (dtype: string) => width === 1 ? dtype : `vec4<${dtype}>`;
    // A software GPU pays for each invocation, a real one wants many.
    const perInvocation = software && count >= 65536 ? 16 : 1;
    return {
      wgsl,
      constants: {
        Y: vector(dtypes.y),
        X: vector(dtypes.x),
        V: vector("f32"),
        WIDTH: width,
        PER_INVOCATION: perInvocation,
      },
      workgroups: Math.ceil(count / (width * 64 * perInvocation)),
    };
  },
  cpu({ x, y }, { count, a }) {
    for (let i = 0; i < count; i++) y[i] += a * x[i];
  },
  simd({ at, params: { count, a }, run }) {
    run("axpy", count, 16_384, a, at.x, at.y);
    return true;
  },
  split: { along: "count", elements: { x: () => 1, y: () => 1 } },
});
