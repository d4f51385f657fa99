/**
 * Whether a step is applied, decided on the device, so that the host need not wait for its loss.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./step_verdict.wgsl" with { type: "text" };

/** Numbers of {@linkcode stepVerdict}. */
export type StepVerdictParams = {
  /** Losses. */
  count: number;
  /** 1 where a norm that is not finite only tells that the loss scale is too large. */
  scaled: number;
  /** Steps in a row that may be left out before all further ones are; 1 for none. */
  maxSkips: number;
};

/**
 * gradScale (1) = factor (1), or 0 where one of losses (count) or norm (1) is not finite, and in all steps once halted
 * (1) is set: by the step with which skipped (1), those left out in a row, reaches `maxSkips`.
 */
export const stepVerdict: Kernel<StepVerdictParams> = kernel<StepVerdictParams>({
  name: "step_verdict",
  bindings: {
    losses: { read: "count", dtype: "f32" },
    norm: { read: "1", dtype: "f32" },
    factor: { read: "1", dtype: "f32" },
    skipped: { update: "1", dtype: "f32" },
    halted: { update: "1", dtype: "f32" },
    gradScale: { write: "1", dtype: "f32" },
  },
  params: { count: "u32", scaled: "u32", maxSkips: "u32" },
  gpu: ({ count }) => ({ wgsl, workgroups: 1, iterations: count }),
  cpu({ losses, norm, factor, skipped, halted, gradScale }, { count, scaled, maxSkips }) {
    let sound = scaled !== 0 || Number.isFinite(norm[0]);
    for (let i = 0; i < count; i++) sound &&= Number.isFinite(losses[i]);
    if (halted[0] === 0) {
      skipped[0] = sound ? 0 : skipped[0] + 1;
      if (skipped[0] >= maxSkips) halted[0] = 1;
    }
    gradScale[0] = sound && halted[0] === 0 ? factor[0] : 0;
  },
});
