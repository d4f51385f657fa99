import { stepVerdict } from "../../../kernels/optimizer/step_verdict.ts";
import type { Case } from "../case.ts";

interface Step {
  readonly losses?: number[];
  readonly norm?: number;
  readonly skipped?: number;
  readonly halted?: number;
  readonly scaled?: number;
  readonly maxSkips?: number;
}

function verdict(
  name: string,
  step: Step,
  after: [skipped: number, halted: number, scale: number],
): Case {
  const { losses = [3, 4], norm = 2, skipped = 0, halted = 0, scaled = 0, maxSkips = 3 } = step;
  const [skippedAfter, haltedAfter, gradScale] = after;
  return {
    kernel: stepVerdict,
    name,
    bindings: {
      losses: Float32Array.from(losses),
      norm: Float32Array.of(norm),
      factor: Float32Array.of(Number.isFinite(norm) ? 0.5 : 0),
      skipped: Float32Array.of(skipped),
      halted: Float32Array.of(halted),
      gradScale: Float32Array.of(77),
    },
    params: { count: losses.length, scaled, maxSkips },
    exact: () => ({ skipped: [skippedAfter], halted: [haltedAfter], gradScale: [gradScale] }),
    tolerance: 0,
  };
}

export const cases: Case[] = [
  verdict("a sound step", { skipped: 2 }, [0, 0, 0.5]),
  verdict("a loss that is NaN", { losses: [3, NaN] }, [1, 0, 0]),
  verdict("an infinite loss", { losses: [-Infinity, 3], skipped: 1 }, [2, 0, 0]),
  verdict("a norm that is NaN", { norm: NaN }, [1, 0, 0]),
  verdict("the last of too many", { norm: Infinity, skipped: 2 }, [3, 1, 0]),
  verdict("none may be left out", { norm: NaN, maxSkips: 1 }, [1, 1, 0]),
  verdict("a sound one after that", { skipped: 1, halted: 1, maxSkips: 1 }, [1, 1, 0]),
  verdict("the loss scale is being found", { norm: Infinity, scaled: 1, skipped: 1 }, [0, 0, 0]),
  verdict("NaN with a loss scale", { losses: [NaN], norm: NaN, scaled: 1 }, [1, 0, 0]),
];
