import {
  binaryKernels,
  type BinaryName,
  binaryNumberKernels,
  ternaryKernels,
} from "../../../kernels/elementwise/binary.ts";
import { broadcastParams } from "../../../kernels/elementwise/elementwise.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import type { Kernel, Params } from "../../../src/device/kernel.ts";
import {
  broadcastShapes,
  broadcastStrides,
  type Shape,
  sizeOf,
} from "../../../src/tensor/shape.ts";
import { type Case, output, random } from "../case.ts";

/** Operators whose result is 0 or 1. */
const COMPARISONS = new Set(
  ["equal", "notEqual", "less", "lessEqual", "greater", "greaterEqual", "logicalAnd", "logicalOr"],
);
const NAMES = ["a", "b", "c"];

function room(name: string, size: number): TypedArray {
  return COMPARISONS.has(name) ? new Uint32Array(size) : output(size);
}

function stretched(
  name: string,
  kernel: Kernel<Params>,
  shapes: readonly Shape[],
  more: Partial<Case> = {},
): Case {
  const shape = shapes.reduce((all, one) => broadcastShapes(name, all, one));
  const strides = shapes.map((one) => broadcastStrides(one, shape));
  const bindings: Record<string, TypedArray> = {};
  // Few distinct values, so that some are equal; none is 0 or negative for pow and div.
  shapes.forEach((one, k) =>
    bindings[NAMES[k]] = random(sizeOf(one), 3, k + 1).map((x) => Math.round(x) / 2 + 2)
  );
  bindings.y = room(name, sizeOf(shape));
  return {
    kernel,
    name: shapes.map((one) => `[${one}]`).join(" and "),
    bindings,
    params: broadcastParams(name, shape, strides, true),
    tolerance: name.startsWith("pow") ? 1e-5 : 2e-6,
    ...more,
  };
}

const ODD = [[37], [37]];
const EVEN = [[64], [64]];
const ROW = [[5, 12], [12]];
const COLUMN = [[5, 12], [5, 1]];
const MIXED = [[4, 1, 5, 1, 2], [3, 1, 6, 1]];
const SIX = [[2, 1, 2, 1, 2, 4], [3, 1, 2, 1, 1]];
const LIMITED = { name: "over the binding limit", limit: 1024 };

const binary = Object.entries(binaryKernels).flatMap(([name, kernel]) => [
  ...[ODD, EVEN, MIXED].map((shapes) => stretched(name, kernel, shapes)),
  stretched(name, kernel, [[1500], [1500]], LIMITED),
]);
const { add, div, maximum, minimum, mul, sub, greater } = binaryKernels;
const shapes = [ROW, COLUMN, SIX, [[5, 7], []], [[], [8]], [[1], [1]], [[0, 3], [3]]];
const detailed = Object.entries({ add, mul, sub }).flatMap(([name, kernel]) => [
  ...shapes.map((pair) => stretched(name, kernel, pair)),
  stretched(name, kernel, [[40, 16], [16]], { name: "a row over the binding limit", limit: 1024 }),
]);

const ternary = Object.entries(ternaryKernels).flatMap(([name, kernel]) => [
  stretched(name, kernel, [[5, 12], [5, 12], [5, 12]]),
  stretched(name, kernel, [[5, 1], [4, 5, 6], [6]]),
  stretched(name, kernel, [[1500], [1500], [1500]], LIMITED),
]);

function whole(name: BinaryName, a: TypedArray, b: TypedArray): Case {
  return {
    kernel: binaryKernels[name],
    name: `${name} of integers`,
    bindings: { a, b, y: COMPARISONS.has(name) ? new Uint32Array(a.length) : a.slice() },
    params: broadcastParams(name, [a.length], [[1], [1]], false),
  };
}

const NAN = Float32Array.of(NaN, 1, NaN, 2, -Infinity, Infinity, 0);
const OTHER = Float32Array.of(3, NaN, NaN, 1, 5, -5, -0);

function number(name: string, kernel: Kernel<Params>, size: number, swapped: 0 | 1): Case {
  return {
    kernel,
    name: `${size} elements${swapped ? ", the number first" : ""}`,
    bindings: { a: random(size, 1).map((x) => x + 1.5), y: room(name, size) },
    params: { count: size, float: 1, value: 1.7, whole: 1, swapped },
    tolerance: 1e-5,
  };
}

export const cases: Case[] = [
  ...binary,
  ...detailed,
  ...ternary,
  ...(["add", "sub", "mul", "div", "maximum", "minimum", "less", "equal"] as const).flatMap((
    name,
  ) => [
    whole(name, Int32Array.of(7, -7, 70000, -1, 0), Int32Array.of(2, 2, 70001, 3, 0)),
    whole(name, Uint32Array.of(7, 4294967295, 70000), Uint32Array.of(2, 2, 70001)),
  ]),
  ...[maximum, minimum, greater, add, div].map((kernel): Case => ({
    kernel,
    name: "NaN and infinities",
    bindings: { a: NAN, b: OTHER, y: kernel === greater ? new Uint32Array(7) : output(7) },
    params: broadcastParams("", [7], [[1], [1]], true),
  })),
  {
    kernel: add,
    name: "f16",
    bindings: {
      a: Float16Array.from(random(60)),
      b: Float16Array.from(random(12, 1, 2)),
      y: new Float16Array(60),
    },
    params: broadcastParams("", [5, 12], [[12, 1], [0, 1]], true),
    tolerance: 1e-3,
  },
  ...Object.entries(binaryNumberKernels).flatMap(([name, kernel]) => [
    number(name, kernel, 37, 0),
    number(name, kernel, 37, 1),
    { ...number(name, kernel, 1500, 0), name: "over the binding limit", limit: 1024 },
  ]),
  ...[binaryNumberKernels.add, binaryNumberKernels.mul].map((kernel): Case => ({
    kernel,
    name: "integers",
    bindings: { a: Uint32Array.of(1, 4294967295, 3), y: new Uint32Array(3) },
    params: { count: 3, float: 0, value: 40000, whole: 40000, swapped: 0 },
  })),
];
