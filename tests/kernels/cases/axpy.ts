import { axpy } from "../../../kernels/elementwise/axpy.ts";
import { type Case, random } from "../case.ts";

function added(count: number, more: Partial<Case> = {}): Case {
  const x = random(count, 3);
  const y = random(count, 1, 2);
  return {
    kernel: axpy,
    name: `${count} elements`,
    bindings: { x, y },
    params: { count, a: -0.5 },
    exact: () => ({ y: Array.from(y, (value, i) => value - 0.5 * x[i]) }),
    tolerance: 1e-6,
    ...more,
  };
}

export const cases: Case[] = [
  added(0),
  added(1),
  added(1001),
  added(1024),
  added(70_000),
  added(5000, { name: "over the binding limit", limit: 4096 }),
  added(100, {
    name: "f16 onto f32",
    bindings: { x: Float16Array.from(random(100)), y: random(100, 1, 2) },
    exact: undefined,
  }),
];
