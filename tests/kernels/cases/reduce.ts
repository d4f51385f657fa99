import { reduceKernels } from "../../../kernels/rows/reduce.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import { type Case, output, random } from "../case.ts";

/** [outer, reduced, inner], length of a slab. */
const SHAPES: [number, number, number, number][] = [
  [1, 1, 1, 1],
  [3, 37, 1, 37],
  [2, 37, 5, 37],
  [1, 300, 33, 64],
  [2, 1000, 1, 256],
  [4, 64, 1, 16],
];

function reduced(
  name: keyof typeof reduceKernels,
  [outer, reduced, inner, length]: [number, number, number, number],
  x: TypedArray = random(outer * reduced * inner, 2),
  more: Partial<Case> = {},
): Case {
  const slabs = Math.max(1, Math.ceil(reduced / length));
  const count = outer * slabs * inner;
  const float = x instanceof Float32Array || x instanceof Float16Array;
  const scale = name === "sum" && outer === 2 ? 0.5 : 1;
  return {
    kernel: reduceKernels[name],
    name: `[${outer}, ${reduced}, ${inner}] by ${length}`,
    bindings: { x, y: float ? output(count) : x.slice(0, count) },
    params: { count, reduced, inner, slabs, length, scale, float: float ? 1 : 0 },
    tolerance: 1e-5,
    ...more,
  };
}

const names = ["sum", "max", "min"] as const;
const nan = random(40, 1);
nan[17] = NaN;
const low = new Float32Array(8).fill(-Infinity);

export const cases: Case[] = [
  ...names.flatMap((name) => [
    ...SHAPES.map((shape) => reduced(name, shape)),
    reduced(name, [1, 300_001, 1, 131_000], undefined, { long: true, tolerance: 1e-4 }),
    reduced(name, [2, 20, 1, 20], nan, { name: "NaN" }),
    reduced(name, [1, 8, 1, 8], low, { name: "all -Infinity" }),
    reduced(name, [1, 5, 1, 5], Int32Array.of(-7, 2, 100000, -3, 4), { name: "i32" }),
    reduced(name, [1, 5, 1, 5], Uint32Array.of(7, 2, 3000000000, 3, 4), { name: "u32" }),
    reduced(name, [3, 50, 1, 50], Float16Array.from(random(150)), { name: "f16" }),
    reduced(name, [150, 37, 1, 37], random(150 * 37), {
      name: "over the binding limit",
      limit: 10_000,
    }),
  ]),
  reduced("sum", [3, 0, 2, 1], new Float32Array(0), {
    name: "of nothing",
    exact: () => ({ y: [0, 0, 0, 0, 0, 0] }),
  }),
];
