import { adamwCorrection } from "../../../kernels/optimizer/adamw.ts";
import { type Case, output } from "../case.ts";

interface Options extends Partial<Case> {
  /** 0 for a refused step. */
  readonly scale?: number;
}

function counted(
  done: number,
  beta1: number,
  beta2: number,
  { scale = 1, ...more }: Options = {},
): Case {
  const correction = output(2);
  return {
    kernel: adamwCorrection,
    name: `step ${done + 1}, betas ${beta1} and ${beta2}${scale ? "" : ", refused"}`,
    bindings: { gradScale: Float32Array.of(scale), step: Float32Array.of(done), correction },
    params: { logBeta1: Math.max(Math.log(beta1), -1000), logBeta2: Math.log(beta2) },
    exact: () =>
      scale
        ? { step: [done + 1], correction: [1 - beta1 ** (done + 1), 1 - beta2 ** (done + 1)] }
        : { step: [done], correction },
    tolerance: 4e-7,
    ...more,
  };
}

export const cases: Case[] = [
  // 32 bits cannot take 1 - 0.9999 as that difference: its error would be 1e-8.
  counted(0, 0.9999, 0.9999, { tolerance: 1e-10 }),
  counted(0, 0, 0.95),
  counted(9, 0.9, 0.999),
  counted(500, 0.9, 0.999),
  counted(100_000, 0.9, 0.999),
  counted(3, 0.9, 0.999, { scale: 0 }),
];
