import { fill } from "../../../kernels/elementwise/fill.ts";
import { type Case, output } from "../case.ts";

export const cases: Case[] = [
  ...[0, 1, 63, 1000].map((count): Case => ({
    kernel: fill,
    name: `${count} elements`,
    bindings: { y: output(count) },
    params: { count, value: 2.5 },
    exact: () => ({ y: new Array(count).fill(2.5) }),
  })),
  {
    kernel: fill,
    name: "integers",
    bindings: { y: new Int32Array(5) },
    params: { count: 5, value: -7 },
  },
  {
    kernel: fill,
    name: "more than 65,535 workgroups",
    bindings: { y: output(65536 * 64 + 1) },
    params: { count: 65536 * 64 + 1, value: 1 },
  },
  {
    kernel: fill,
    name: "over the binding limit",
    bindings: { y: output(5000) },
    params: { count: 5000, value: -1 },
    limit: 4096,
  },
];
