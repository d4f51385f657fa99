import { stridedKernels, stridedParams } from "../../../kernels/indexing/strided.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import { type Case, output, random } from "../case.ts";

/** What it is, shape, strides, base, elements on the strided side. */
const MOVES: [string, number[], number[], number, number][] = [
  ["dense", [4, 6], [6, 1], 0, 24],
  ["a transpose", [5, 7], [1, 5], 0, 35],
  ["heads to the front", [2, 3, 5, 8], [120, 8, 24, 1], 0, 240],
  ["a slice with steps", [3, 2], [14, 3], 8, 42],
  ["backwards", [3, 4], [-4, -1], 11, 12],
  ["six axes", [2, 3, 2, 2, 3, 2], [1, 2, 6, 12, 24, 72], 0, 144],
  ["six axes, the last in a row", [2, 3, 2, 2, 3, 4], [144, 4, 72, 12, 24, 1], 0, 288],
  ["nothing", [0, 3], [3, 1], 0, 3],
];

function moved(
  name: keyof typeof stridedKernels,
  [label, shape, strides, base, size]: typeof MOVES[number],
  make: (values: Float32Array<ArrayBuffer>) => TypedArray = (values) => values,
  more: Partial<Case> = {},
): Case {
  const count = shape.reduce((product, length) => product * length, 1);
  const dense = name === "gather" ? output(count) : random(count);
  const other = name === "gather" ? random(size) : output(size);
  return {
    kernel: stridedKernels[name],
    name: label,
    bindings: name === "gather"
      ? { x: make(other), y: make(dense) }
      : { x: make(dense), y: make(other) },
    params: stridedParams("", shape, strides, base),
    tolerance: 0,
    ...more,
  };
}

export const cases: Case[] = [
  ...(["gather", "scatter"] as const).flatMap((name) => [
    ...MOVES.map((move) => moved(name, move)),
    moved(name, MOVES[1], (values) => Float16Array.from(values), { name: "f16" }),
    moved(name, MOVES[2], (values) => Int32Array.from(values, (x) => x * 1000), { name: "i32" }),
  ]),
  moved("gather", ["a row over and over", [5, 8], [0, 1], 0, 8]),
  moved("gather", ["one value", [37], [0], 0, 1]),
];
