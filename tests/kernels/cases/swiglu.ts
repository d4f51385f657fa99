import { swigluBackward, swigluKernel } from "../../../kernels/elementwise/swiglu.ts";
import { type Case, output, random } from "../case.ts";

function forward(count: number, more: Partial<Case> = {}): Case {
  return {
    kernel: swigluKernel,
    name: `${count} elements`,
    bindings: { a: random(count, 6), b: random(count, 2, 2), y: output(count) },
    params: { count, float: 1 },
    tolerance: 3e-6,
    ...more,
  };
}

function backward(count: number, more: Partial<Case> = {}): Case {
  return {
    kernel: swigluBackward,
    name: `${count} elements`,
    bindings: {
      dOut: random(count, 1, 3),
      gate: random(count, 6),
      up: random(count, 2, 2),
      dGate: output(count),
      dUp: output(count),
    },
    params: { count },
    tolerance: 3e-6,
    ...more,
  };
}

export const cases: Case[] = [
  forward(0),
  forward(37),
  forward(256),
  forward(1500, { name: "over the binding limit", limit: 1024 }),
  backward(0),
  backward(37),
  backward(1500, { name: "over the binding limit", limit: 1024 }),
];
