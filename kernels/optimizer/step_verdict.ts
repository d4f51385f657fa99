/**
 * Decides on the device whether a step is applied, so that the host need not wait for its loss.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./step_verdict.wgsl" with { type: "text" };

/** Parameters of {@linkcode stepVerdict}. */
export type StepVerdictParams = {
  /** The number of losses. */
  count: number;
  /** 1 if a norm that is not finite only means that the loss scale is too large. */
  scaled: number;
  /** The number of skipped steps in a row after which all further steps are skipped, too; 1 for none. */
  maxSkips: number;
};

/**
 * gradScale (1) = factor (1), or 0 if any of losses (count) or norm (1) is not finite, and always once halted (1) is
 * set. It is set when skipped (1), the number of skipped steps in a row, reaches `maxSkips`.
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
