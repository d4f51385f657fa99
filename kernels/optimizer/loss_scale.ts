/**
 * The rule of dynamic loss scaling, on the device, since only there is it known whether a gradient overflowed.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./loss_scale.wgsl" with { type: "text" };

/** Parameters of {@linkcode updateLossScale}. */
export type LossScaleParams = {
  /** The factor of the scale after `interval` good steps in a row. */
  growth: number;
  /** The factor of the scale after an overflow. */
  backoff: number;
  /** The number of good steps before the scale grows. */
  interval: number;
};

/**
 * Updates lossScale (1, kept within 1 to 2^24) and goodSteps (1) after a step whose gradients were multiplied by
 * gradScale (1), which is 0 if they overflowed. If halted (1) is given and not 0, nothing changes.
 */
export const updateLossScale: Kernel<LossScaleParams> = kernel<LossScaleParams>({
  name: "loss_scale",
  bindings: {
    gradScale: { read: "1", dtype: "f32" },
    lossScale: { update: "1", dtype: "f32" },
    goodSteps: { update: "1", dtype: "f32" },
    halted: { read: "1", dtype: "f32", optional: true },
  },
  params: { growth: "f32", backoff: "f32", interval: "f32" },
  gpu: () => ({ wgsl, workgroups: 1 }),
  cpu({ gradScale, lossScale, goodSteps, halted }, { growth, backoff, interval }) {
    if (halted && halted[0] !== 0) return;
    const good = goodSteps[0] + 1;
    if (gradScale[0] === 0) {
      lossScale[0] = Math.max(lossScale[0] * backoff, 1);
      goodSteps[0] = 0;
    } else if (good >= interval) {
      lossScale[0] = Math.min(lossScale[0] * growth, 2 ** 24);
      goodSteps[0] = 0;
    } else {
      goodSteps[0] = good;
    }
  },
});
