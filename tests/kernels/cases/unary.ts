import { unaryBackwardKernels, unaryKernels } from "../../../kernels/elementwise/unary.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import type { Kernel, Params } from "../../../src/device/kernel.ts";
import { type Case, output, random } from "../case.ts";

const SCALARS = { min: -0.75, max: 1.25, slope: 0.125, cap: 3 };

/** The scalars that a kernel takes. */
function scalarsOf({ params }: Kernel<Params>): Params {
  return Object.fromEntries(Object.entries(SCALARS).filter(([name]) => name in params));
}
const POSITIVE = new Set(["log", "sqrt", "rsqrt"]);
const WHOLE_RESULT = new Set(["logicalNot", "isNaN"]);
/** Odd, divisible by four, none, and long enough for the loop of a software adapter. */
const SIZES = [0, 37, 256];

function values(name: string, size: number, seed: number): Float32Array<ArrayBuffer> {
  const x = random(size, 6, seed);
  return POSITIVE.has(name) ? x.map((value) => Math.abs(value) + 0.01) : x;
}

function forward(name: string, kernel: Kernel<Params>): Case[] {
  const one = (label: string, a: TypedArray, y: TypedArray, more: Partial<Case> = {}): Case => ({
    kernel,
    name: label,
    bindings: { a, y },
    params: { count: a.length, float: 1, ...scalarsOf(kernel) },
    tolerance: 2e-6,
    ...more,
  });
  const room = (size: number): TypedArray =>
    WHOLE_RESULT.has(name) ? new Uint32Array(size) : output(size);
  return [
    ...SIZES.map((size) => one(`${size} elements`, values(name, size, 1), room(size))),
    one("over the binding limit", values(name, 1500, 1), room(1500), { limit: 1024 }),
  ];
}

function backward(name: string, kernel: Kernel<Params>): Case[] {
  const one = (size: number, more: Partial<Case> = {}): Case => ({
    kernel,
    name: `${size} elements`,
    bindings: { a: random(size, 2, 2), b: values(name, size, 1), y: output(size) },
    params: { count: size, float: 1, ...scalarsOf(kernel) },
    tolerance: 4e-6,
    ...more,
  });
  return [one(37), one(256), one(1500, { name: "over the binding limit", limit: 1024 })];
}

const { abs, cast, clamp, geluTanh, isNaN, leakyRelu, neg, relu, reluSquared, sign, softcap } =
  unaryKernels;
const { square, tanh } = unaryKernels;
const half = Float16Array.from(random(67, 4));
const extremes = Float32Array.of(NaN, Infinity, -Infinity, 0, -0, 88, -88, 1e30, -1e30, 1e-30);

function plain(kernel: Kernel<Params>, name: string, a: TypedArray, y: TypedArray): Case {
  const float = a instanceof Int32Array || a instanceof Uint32Array ? 0 : 1;
  return {
    kernel,
    name,
    bindings: { a, y },
    params: { count: a.length, float, ...scalarsOf(kernel) },
  };
}

export const cases: Case[] = [
  ...Object.entries(unaryKernels).flatMap(([name, kernel]) => forward(name, kernel)),
  ...Object.entries(unaryBackwardKernels).flatMap(([name, kernel]) => backward(name, kernel)),
  plain(isNaN, "NaN and infinities", extremes, new Uint32Array(extremes.length)),
  plain(isNaN, "f16", Float16Array.of(NaN, 1, Infinity, 0), new Uint32Array(4)),
  ...[Int32Array, Uint32Array].map((type) =>
    plain(isNaN, type.name, type.of(2147483647, 0, 2143289344), new Uint32Array(3))
  ),
  ...[abs, clamp, leakyRelu, relu, sign, softcap, tanh].map((kernel) =>
    plain(kernel, "NaN and infinities", extremes, output(extremes.length))
  ),
  ...[geluTanh, relu, reluSquared, softcap].map((kernel) => ({
    ...plain(kernel, "f16", half, new Float16Array(half.length)),
    tolerance: 1e-3,
  })),
  ...[abs, neg, sign, square, relu].map((kernel) =>
    plain(kernel, "i32", Int32Array.of(-3, 0, 7, 70000, -70000), new Int32Array(5))
  ),
  plain(cast, "f32 to i32", Float32Array.of(-2.7, 2.7, 0, 1e6), new Int32Array(4)),
  plain(cast, "i32 to f32", Int32Array.of(-2, 7, 1 << 24), new Float32Array(3)),
  plain(cast, "f32 to f16", random(77, 100), new Float16Array(77)),
  plain(cast, "f16 to f32", half, new Float32Array(67)),
];
