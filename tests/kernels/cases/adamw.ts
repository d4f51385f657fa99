import { adamw } from "../../../kernels/optimizer/adamw.ts";
import { type Case, output, random } from "../case.ts";

interface Options extends Partial<Case> {
  /** The gradients' factor; 0 for a refused step. */
  readonly scale?: number;
  /** Gradients and a copy of the parameters in f16. */
  readonly half?: boolean;
}

function updated(count: number, { scale = 0.5, half = false, ...more }: Options = {}): Case {
  const p = random(count, 1, 1);
  const g = half ? Float16Array.from(random(count, 4, 2)) : random(count, 4, 2);
  const m = random(count, 0.5, 3);
  const v = random(count, 0.5, 4).map(Math.abs);
  const [lr, beta1, beta2, eps, weightDecay] = [0.01, 0.9, 0.999, 1e-8, 0.1];
  const gradScale = Float32Array.of(scale);
  const correction = Float32Array.of(1 - beta1 ** 3, 1 - beta2 ** 3);
  return {
    kernel: adamw,
    name: `${count} elements${half ? ", f16 gradient and copy" : ""}`,
    bindings: {
      ...{ p, g, m, v, gradScale, correction },
      copy: half ? Float16Array.from(output(count)) : undefined,
    },
    params: { count, lr, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, eps, weightDecay },
    exact: () => {
      if (scale === 0) return { p, m, v };
      const mean = Array.from(m, (old, i) => beta1 * old + (1 - beta1) * g[i] * scale);
      const square = Array.from(v, (old, i) => beta2 * old + (1 - beta2) * (g[i] * scale) ** 2);
      const moved = Array.from(p, (old, i) =>
        old * (1 - lr * weightDecay) -
        lr * mean[i] / (1 - beta1 ** 3) / (Math.sqrt(square[i] / (1 - beta2 ** 3)) + eps));
      return { p: moved, m: mean, v: square };
    },
    // The copy may fall on the other side of a rounding of f16.
    tolerance: half ? 1e-3 : 2e-6,
    exactTolerance: 2e-6,
    ...more,
  };
}

export const cases: Case[] = [
  updated(0),
  updated(3),
  updated(4),
  updated(1001),
  updated(20_000),
  updated(100, { scale: 0, name: "a refused step" }),
  updated(5000, { name: "over the binding limit", limit: 4096 }),
  updated(1001, { half: true }),
  updated(1000, { half: true }),
  updated(99, { half: true, scale: 0, name: "a refused step, f16", exact: undefined }),
];
