import { argReduceKernels } from "../../../kernels/rows/arg_reduce.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import type { Kernel } from "../../../src/device/kernel.ts";
import { type Case, random } from "../case.ts";

function found(
  // deno-lint-ignore no-explicit-any -- either kernel
  kernel: Kernel<any>,
  [outer, reduced, inner]: [number, number, number],
  x: TypedArray = random(outer * reduced * inner, 2).map((value) => Math.round(value * 50)),
  more: Partial<Case> = {},
): Case {
  const count = outer * inner;
  return {
    kernel,
    name: `[${outer}, ${reduced}, ${inner}]`,
    bindings: { x, y: new Int32Array(count).fill(-9) },
    params: { count, reduced, inner },
    ...more,
  };
}

const nan = random(40, 1);
nan[17] = nan[23] = NaN;

export const cases: Case[] = Object.values(argReduceKernels).flatMap((kernel) => [
  found(kernel, [1, 1, 1]),
  found(kernel, [3, 37, 5]),
  found(kernel, [2, 5000, 1]),
  ...[[1, 50_257, 1], [2, 300_001, 1], [1, 65_537, 2]].map(([outer, reduced, inner]) =>
    found(kernel, [outer, reduced, inner], undefined, { long: true })
  ),
  found(kernel, [1, 40, 1], nan, { name: "NaN", exact: () => ({ y: [17] }) }),
  found(kernel, [1, 70, 1], new Float32Array(70).fill(-Infinity), {
    name: "all the same",
    exact: () => ({ y: [0] }),
  }),
  found(kernel, [1, 5, 1], Int32Array.of(-7, 2, 100000, -3, 4), { name: "i32" }),
  found(kernel, [2, 33, 1], Float16Array.from(random(66)), { name: "f16" }),
  found(kernel, [150, 37, 1], undefined, { name: "over the binding limit", limit: 10_000 }),
]);
