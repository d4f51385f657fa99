import { crossEntropyScale } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, random } from "../case.ts";

function scaled(count: number, factor: number, more: Partial<Case> = {}): Case {
  const y = random(count);
  return {
    kernel: crossEntropyScale,
    name: `${count} elements by ${factor}`,
    bindings: { scale: Float32Array.of(factor), y },
    params: { count },
    exact: () => ({ y: Array.from(y, (value) => value * factor) }),
    tolerance: 1e-6,
    ...more,
  };
}

export const cases: Case[] = [
  scaled(0, 2),
  scaled(1001, 0.25),
  scaled(70000, -3),
  scaled(64, 1),
  scaled(5000, 2, { name: "over the binding limit", limit: 4096 }),
];
