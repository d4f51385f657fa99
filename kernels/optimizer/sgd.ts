/**
 * A step of stochastic gradient descent.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./sgd.wgsl" with { type: "text" };

/** Parameters of {@linkcode sgd}. */
export type SgdParams = {
  /** The number of elements. */
  count: number;
  /** The learning rate. */
  lr: number;
  /** The fraction of the velocity that is kept. */
  momentum: number;
  /** The fraction of a parameter that is added to its gradient. */
  weightDecay: number;
  /** 1 for Nesterov momentum, 0 for plain momentum. */
  nesterov: number;
};

/**
 * Updates p (count, f32) and, if given, `velocity` (count, f32) from g (count, f32 or f16); also writes the new p to
 * `copy` (count, f16) if that is given:
 *
 *     g' = gradScale[0] g + weightDecay p
 *     velocity = momentum velocity + g'
 *     p = p - lr (velocity, or g' + momentum velocity with nesterov, or g' without a velocity)
 *
 * If `gradScale[0]` is 0, nothing changes.
 */
export const sgd: Kernel<SgdParams> = kernel<SgdParams>({
  name: "sgd",
  bindings: {
    p: { update: "count", dtype: "f32" },
    g: { read: "count" },
    velocity: { update: "count", dtype: "f32", optional: true },
    gradScale: { read: "1", dtype: "f32" },
    copy: { update: "count", dtype: "f16", optional: true },
  },
  params: { count: "u32", lr: "f32", momentum: "f32", weightDecay: "f32", nesterov: "u32" },
  gpu: ({ count, nesterov }, { software }: GpuTarget) => {
    const vec4 = count % 4 === 0 && "count";
    // Each invocation has a cost on a software adapter; a GPU needs many.
    const perInvocation = software ? 16 : 1;
    return {
      wgsl,
      vec4,
      constants: { PER_INVOCATION: perInvocation, NESTEROV: nesterov === 1 },
      workgroups: Math.ceil(count / ((vec4 ? 4 : 1) * 64 * perInvocation)),
    };
  },
  cpu({ p, g, velocity, gradScale, copy }, { count, lr, momentum, weightDecay, nesterov }) {
    const scale = gradScale[0];
    if (scale === 0) return;
    for (let i = 0; i < count; i++) {
      let step = g[i] * scale + weightDecay * p[i];
      if (velocity) {
        const moving = momentum * velocity[i] + step;
        velocity[i] = moving;
        step = nesterov ? step + momentum * moving : moving;
      }
      p[i] -= lr * step;
      if (copy) copy[i] = p[i];
    }
  },
  split: "count",
});
