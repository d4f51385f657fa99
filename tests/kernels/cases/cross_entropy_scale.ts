import { crossEntropyScale } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, output, random } from "../case.ts";

function scaled(count: number, factor: number, accumulate = 0, more: Partial<Case> = {}): Case {
  const x = random(count);
  const y = accumulate ? random(count, 1, 2) : output(count);
  return {
    kernel: crossEntropyScale,
    name: `${count} elements by ${factor}${accumulate ? ", added" : ""}`,
    bindings: { scale: Float32Array.of(factor), x, y },
    params: { count, accumulate },
    exact: () => ({ y: Array.from(x, (value, i) => value * factor + (accumulate && y[i])) }),
    tolerance: 1e-6,
    ...more,
  };
}

export const cases: Case[] = [
  scaled(0, 2),
  scaled(1001, 0.25),
  scaled(1001, 0.25, 1),
  scaled(70000, -3),
  scaled(70000, -3, 1),
  scaled(64, 1),
  scaled(5000, 2, 1, { name: "over the binding limit", limit: 4096 }),
  scaled(36, 0.5, 0, {
    name: "to f16",
    bindings: { scale: Float32Array.of(0.5), x: random(36), y: new Float16Array(36) },
    exact: undefined,
    tolerance: 2e-3,
  }),
];
