import { sgd } from "../../../kernels/optimizer/sgd.ts";
import { type Case, output, random } from "../case.ts";

interface Options extends Partial<Case> {
  readonly scale?: number;
  readonly momentum?: number;
  readonly nesterov?: number;
  /** Gradients and a copy of the parameters in f16. */
  readonly half?: boolean;
}

function updated(count: number, options: Options = {}): Case {
  const { scale = 0.5, momentum = 0, nesterov = 0, half = false, ...more } = options;
  const p = random(count, 1, 1);
  const g = half ? Float16Array.from(random(count, 4, 2)) : random(count, 4, 2);
  const velocity = momentum ? random(count, 1, 3) : undefined;
  const [lr, weightDecay] = [0.1, 0.01];
  return {
    kernel: sgd,
    name: `${count} elements, momentum ${momentum}, nesterov ${nesterov}${half ? ", f16" : ""}`,
    bindings: {
      ...{ p, g, velocity, gradScale: Float32Array.of(scale) },
      copy: half ? Float16Array.from(output(count)) : undefined,
    },
    params: { count, lr, momentum, weightDecay, nesterov },
    exact: (): Record<string, ArrayLike<number>> => {
      if (scale === 0) return { p };
      const step = Array.from(g, (gradient, i) => scale * gradient + weightDecay * p[i]);
      const moving = step.map((value, i) => value + momentum * (velocity?.[i] ?? 0));
      const along = step.map((value, i) => nesterov ? value + momentum * moving[i] : moving[i]);
      const moved = Array.from(p, (old, i) => old - lr * along[i]);
      return velocity ? { p: moved, velocity: moving } : { p: moved };
    },
    tolerance: half ? 1e-3 : 1e-6,
    exactTolerance: 1e-6,
    ...more,
  };
}

export const cases: Case[] = [
  updated(0),
  updated(1001),
  updated(1000, { momentum: 0.9 }),
  updated(1001, { momentum: 0.9, nesterov: 1 }),
  updated(100, { scale: 0, momentum: 0.9, name: "a refused step" }),
  updated(5000, { momentum: 0.9, name: "over the binding limit", limit: 4096 }),
  updated(1001, { half: true }),
  updated(1000, { half: true, momentum: 0.9 }),
];
