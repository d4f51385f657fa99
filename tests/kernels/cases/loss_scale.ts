import { updateLossScale } from "../../../kernels/optimizer/loss_scale.ts";
import type { Case } from "../case.ts";

function adapted(
  name: string,
  before: { scale: number; good: number; factor: number; halted?: number },
  after: { scale: number; good: number },
): Case {
  return {
    kernel: updateLossScale,
    name,
    bindings: {
      gradScale: Float32Array.of(before.factor),
      lossScale: Float32Array.of(before.scale),
      goodSteps: Float32Array.of(before.good),
      halted: before.halted === undefined ? undefined : Float32Array.of(before.halted),
    },
    params: { growth: 2, backoff: 0.5, interval: 3 },
    exact: () => ({ lossScale: [after.scale], goodSteps: [after.good] }),
    tolerance: 0,
  };
}

export const cases: Case[] = [
  adapted("a good step", { scale: 64, good: 0, factor: 0.1 }, { scale: 64, good: 1 }),
  adapted("enough good steps", { scale: 64, good: 2, factor: 0.1 }, { scale: 128, good: 0 }),
  adapted("an overflow", { scale: 64, good: 2, factor: 0 }, { scale: 32, good: 0 }),
  adapted("after the end", { scale: 64, good: 2, factor: 0, halted: 1 }, { scale: 64, good: 2 }),
  adapted("an overflow before it", { scale: 8, good: 2, factor: 0, halted: 0 }, {
    scale: 4,
    good: 0,
  }),
  adapted("never below 1", { scale: 1, good: 2, factor: 0 }, { scale: 1, good: 0 }),
  adapted("never above 2^24", { scale: 2 ** 24, good: 2, factor: 1 }, { scale: 2 ** 24, good: 0 }),
];
