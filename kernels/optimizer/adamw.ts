/**
 * AdamW (Loshchilov and Hutter 2019), and the bias correction of its moments.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import adamwWgsl from "./adamw.wgsl" with { type: "text" };
import adamwCorrectionWgsl from "./adamw_correction.wgsl" with { type: "text" };

/** Parameters of {@linkcode adamw}. */
export type AdamWParams = {
  /** The number of elements. */
  count: number;
  /** The learning rate. */
  lr: number;
  /** The decay rate of the mean of the gradients. */
  beta1: number;
  /** The decay rate of the mean of the squared gradients. */
  beta2: number;
  /** 1 - beta1, which would be inaccurate if computed from `beta1` in 32 bits. */
  rest1: number;
  /** 1 - beta2. */
  rest2: number;
  /** Added to the square root. */
  eps: number;
  /** The weight decay, relative to the learning rate. */
  weightDecay: number;
};

/**
 * Updates p, m, v (count, f32) from g (count, f32 or f16), and also writes the new p to `copy` (count, f16) if that
 * is given:
 *
 *     g' = gradScale[0] g
 *     m = beta1 m + rest1 g',   v = beta2 v + rest2 g'^2
 *     p = p - lr weightDecay p - lr (m / correction[0]) / (sqrt(v / correction[1]) + eps)
 *
 * If `gradScale[0]` is 0, nothing changes.
 */
export const adamw: Kernel<AdamWParams> = kernel<AdamWParams>({
  name: "adamw",
  bindings: {
    p: { update: "count", dtype: "f32" },
    g: { read: "count" },
    m: { update: "count", dtype: "f32" },
    v: { update: "count", dtype: "f32" },
    gradScale: { read: "1", dtype: "f32" },
    correction: { read: "2", dtype: "f32" },
    copy: { update: "count", dtype: "f16", optional: true },
  },
  params: {
    count: "u32",
    lr: "f32",
    beta1: "f32",
    beta2: "f32",
    rest1: "f32",
    rest2: "f32",
    eps: "f32",
    weightDecay: "f32",
  },
  gpu: ({ count }, { software }: GpuTarget) => {
    const vec4 = count % 4 === 0 && "count";
    // Each invocation has a cost on a software adapter; a GPU needs many.
    const perInvocation = software ? 16 : 1;
    return {
      wgsl: adamwWgsl,
      vec4,
      constants: { PER_INVOCATION: perInvocation },
      workgroups: Math.ceil(count / ((vec4 ? 4 : 1) * 64 * perInvocation)),
    };
  },
  cpu({ p, g, m, v, gradScale, correction, copy }, params) {
    const { count, lr, beta1, beta2, rest1, rest2, eps, weightDecay } = params;
    const scale = gradScale[0];
    if (scale === 0) return;
    const step = lr / correction[0];
    const root = 1 / Math.sqrt(correction[1]);
    for (let i = 0; i < count; i++) {
      const gradient = g[i] * scale;
      const mean = beta1 * m[i] + rest1 * gradient;
      const square = beta2 * v[i] + rest2 * gradient * gradient;
      p[i] -= lr * weightDecay * p[i] + step * mean / (Math.sqrt(square) * root + eps);
      m[i] = mean;
      v[i] = square;
      if (copy) copy[i] = p[i];
    }
  },
  simd({ at, params, run, memory: { buffer } }) {
    const { count, lr, beta1, beta2, eps, weightDecay } = params;
    if (new Float32Array(buffer, at.gradScale, 1)[0] === 0) return true;
    const [correction1 = 1, correction2 = 1] = new Float32Array(buffer, at.correction, 2);
    run(
      "adamw",
      count,
      16_384,
      ...[at.p!, at.g!, at.m!, at.v!],
      ...[lr, beta1, beta2, eps, weightDecay, correction1, correction2],
      at.gradScale!,
    );
    if (at.copy) run("copy", count, 16_384, at.p!, at.copy);
    return true;
  },
  split: "count",
});

/** Parameters of {@linkcode adamwCorrection}. */
export type AdamWCorrectionParams = {
  /** The natural logarithm of beta1, at least -1000 (for a beta of 0). */
  logBeta1: number;
  /** The natural logarithm of beta2. */
  logBeta2: number;
};

/**
 * Unless `gradScale[0]` is 0: adds 1 to `step` (1) and sets `correction` (2) to `1 - beta1^step` and
 * `1 - beta2^step`.
 */
export const adamwCorrection: Kernel<AdamWCorrectionParams> = kernel<AdamWCorrectionParams>({
  name: "adamw_correction",
  bindings: {
    gradScale: { read: "1", dtype: "f32" },
    step: { update: "1", dtype: "f32" },
    correction: { update: "2", dtype: "f32" },
  },
  params: { logBeta1: "f32", logBeta2: "f32" },
  gpu: () => ({ wgsl: adamwCorrectionWgsl, workgroups: 1 }),
  cpu({ gradScale, step, correction }, { logBeta1, logBeta2 }) {
    if (gradScale[0] === 0) return;
    step[0] += 1;
    correction[0] = -Math.expm1(step[0] * logBeta1);
    correction[1] = -Math.expm1(step[0] * logBeta2);
  },
});
