import { randomNormal, randomUniform } from "../../../kernels/sampling/random_fill.ts";
import { type Case, output } from "../case.ts";

const stream = { seed_low: 7, seed_high: 9, block_low: 0xffffff00, block_high: 3 };
const params = (count: number) => ({ count, ...stream, first: 0, shift: 1, scale: 2 });

/** The streams pass from one 32-bit half of the counter to the next. */
export const cases: Case[] = [randomUniform, randomNormal].flatMap((kernel): Case[] => [
  { kernel, name: "whole blocks", bindings: { y: output(8192) }, params: params(8192) },
  { kernel, name: "odd size", bindings: { y: output(4099) }, params: params(4099) },
  { kernel, name: "nothing", bindings: { y: output(0) }, params: params(0) },
  {
    kernel,
    name: "f16",
    bindings: { y: new Float16Array(333).fill(9) },
    params: params(333),
    tolerance: 1e-3,
  },
  { kernel, name: "split", bindings: { y: output(4099) }, params: params(4099), limit: 1024 },
]);
