/**
 * The step count of Adam, on the device: only there is it known whether a step was refused.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./adamw_correction.wgsl" with { type: "text" };

/** Numbers of {@linkcode adamwCorrection}. */
export type AdamWCorrectionParams = {
  /** Natural logarithm of beta1; at least -1000, as for a beta of 0. */
  logBeta1: number;
  /** Natural logarithm of beta2. */
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
  gpu: () => ({ wgsl, workgroups: 1 }),
  cpu({ gradScale, step, correction }, { logBeta1, logBeta2 }) {
    if (gradScale[0] === 0) return;
    step[0] += 1;
    correction[0] = -Math.expm1(step[0] * logBeta1);
    correction[1] = -Math.expm1(step[0] * logBeta2);
  },
});
