import { dropout } from "../../../kernels/sampling/dropout.ts";
import { type Case, output, random } from "../case.ts";

const stream = { seed_low: 1, seed_high: 0, block_low: 5, block_high: 0 };
const params = (count: number, p: number) => ({ count, ...stream, first: 0, p });
const bindings = (count: number) => ({ x: random(count), y: output(count) });

export const cases: Case[] = [
  { kernel: dropout, name: "odd size", bindings: bindings(1001), params: params(1001, 0.3) },
  {
    kernel: dropout,
    name: "p = 0 keeps all",
    bindings: bindings(64),
    params: params(64, 0),
    exact: () => ({ y: random(64) }),
  },
  { kernel: dropout, name: "nothing", bindings: bindings(0), params: params(0, 0.3) },
  {
    kernel: dropout,
    name: "over the end of the lower half of the counter",
    bindings: bindings(77),
    params: { ...params(77, 0.4), seed_low: 0xfedcba98, block_low: 0xfffffff9, block_high: 7 },
  },
  {
    kernel: dropout,
    name: "split",
    bindings: bindings(3001),
    params: params(3001, 0.5),
    limit: 1024,
  },
];
