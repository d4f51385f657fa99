/**
 * Elementwise functions of two tensors broadcast to one shape, or of a tensor and a number.
 *
 * @module
 */
import type { Kernel, Params, SimdJob } from "../../src/device/kernel.ts";
import {
  broadcastKernel,
  flatKernel,
  type Formula,
  isDense,
  SIMD_CHUNK,
  simdExport,
} from "./elementwise.ts";

const NAN = `// By its bits: naga folds x != x to false, and its max and min drop a NaN.
fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
`;
const LARGER = `${NAN}
fn larger_f32(a: f32, b: f32) -> f32 {
  return select(max(a, b), a + b, is_nan(a) || is_nan(b));
}
fn smaller_f32(a: f32, b: f32) -> f32 {
  return select(min(a, b), a + b, is_nan(a) || is_nan(b));
}
fn larger_i32(a: i32, b: i32) -> i32 { return max(a, b); }
fn smaller_i32(a: i32, b: i32) -> i32 { return min(a, b); }
fn larger_u32(a: u32, b: u32) -> u32 { return max(a, b); }
fn smaller_u32(a: u32, b: u32) -> u32 { return min(a, b); }
`;
const POWER = `// The built-in pow is undefined for a negative base.
fn power(a: f32, b: f32) -> f32 {
  if (b == 0.0 || a == 1.0) { return 1.0; }
  let m = abs(a);
  let p = select(exp2(b * log2(m)), select(1.0 / m, 0.0, b > 0.0), m == 0.0);
  let odd = floor(b * 0.5) * 2.0 != b;
  if (a >= 0.0 || m == 0.0) { return p; }
  if (floor(b) != b) { return sqrt(a); } // NaN
  return select(p, -p, odd);
}
`;

/** What defines an operator, whatever its operands. */
interface Operator {
  readonly wgsl: string;
  readonly functions?: string;
  cpu(a: number, b: number): number;
  cpuWhole?(a: number, b: number): number;
}

const wholeDivision = (a: number, b: number): number => b === 0 ? a : Math.trunc(a / b);

const operators = {
  add: { wgsl: "a + b", cpu: (a, b) => a + b },
  sub: { wgsl: "a - b", cpu: (a, b) => a - b },
  mul: { wgsl: "a * b", cpu: (a, b) => a * b, cpuWhole: Math.imul },
  div: { wgsl: "a / b", cpu: (a, b) => a / b, cpuWhole: wholeDivision },
  pow: { wgsl: "power(a, b)", cpu: (a, b) => a === 1 ? 1 : Math.pow(a, b), functions: POWER },
  maximum: { wgsl: "larger_TYPE(a, b)", cpu: Math.max, functions: LARGER },
  minimum: { wgsl: "smaller_TYPE(a, b)", cpu: Math.min, functions: LARGER },
  equal: { wgsl: "select(0u, 1u, a == b)", cpu: (a, b) => a === b ? 1 : 0 },
  // Not `a != b`: naga folds it if both are the same value.
  notEqual: { wgsl: "select(1u, 0u, a == b)", cpu: (a, b) => a === b ? 0 : 1 },
  less: { wgsl: "select(0u, 1u, a < b)", cpu: (a, b) => a < b ? 1 : 0 },
  lessEqual: { wgsl: "select(0u, 1u, a <= b)", cpu: (a, b) => a <= b ? 1 : 0 },
  greater: { wgsl: "select(0u, 1u, a > b)", cpu: (a, b) => a > b ? 1 : 0 },
  greaterEqual: { wgsl: "select(0u, 1u, a >= b)", cpu: (a, b) => a >= b ? 1 : 0 },
  logicalAnd: {
    wgsl: "select(1u, 0u, a == TA(0) || b == TA(0))",
    cpu: (a, b) => a !== 0 && b !== 0 ? 1 : 0,
  },
  logicalOr: {
    wgsl: "select(1u, 0u, a == TA(0) && b == TA(0))",
    cpu: (a, b) => a !== 0 || b !== 0 ? 1 : 0,
  },
} satisfies Record<string, Operator>;

/** The names of the binary operators. */
export type BinaryName = keyof typeof operators;

/** The kernel's name, in snake case. */
function kernelName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function mapOperators(
  make: (name: BinaryName, operator: Operator) => Kernel<Params>,
): Record<BinaryName, Kernel<Params>> {
  return Object.fromEntries(
    Object.entries(operators).map(([name, operator]) => [name, make(name as BinaryName, operator)]),
  ) as Record<BinaryName, Kernel<Params>>;
}

const SIMD = new Set(["add", "sub", "mul", "div", "maximum", "minimum"]);

/** True if `a` is dense and `b` is one of its rows, repeated. */
function isRow({ params }: SimdJob<Params>): boolean {
  return params.rank === 2 && isDense(params, "a") && params.b0 === 0 && params.b1 === 1;
}

/** Adding or multiplying by a row or a single number; both have WASM exports of their own. */
function simdRow(name: BinaryName): Formula["simdBroadcast"] {
  if (name !== "add" && name !== "mul") return undefined;
  return (job) => {
    const { at, params } = job;
    if (isRow(job)) {
      const rows = Math.max(1, Math.floor(SIMD_CHUNK / params.d1!));
      job.run(`row_${name}`, params.d0!, rows, at.a!, at.b!, at.y!, params.d1!);
      return true;
    }
    if (name === "mul" && params.rank === 1 && params.a0 === 1 && params.b0 === 0) {
      job.run("mul_device_scalar", params.count!, SIMD_CHUNK, at.a!, at.b!, at.y!);
      return true;
    }
    return false;
  };
}

/** y = a op b, both broadcast to y's shape. Operands have one dtype; comparisons give `u32` 0 or 1. */
export const binaryKernels: Record<BinaryName, Kernel<Params>> = mapOperators((name, operator) =>
  broadcastKernel({
    ...operator,
    name: kernelName(name),
    inputs: 2,
    simd: SIMD.has(name) ? simdExport(kernelName(name)) : undefined,
    simdBroadcast: simdRow(name),
  })
);

/** The WASM exports for a tensor and a number, and for a number and a tensor. */
const SIMD_NUMBER: Partial<Record<BinaryName, [string, string]>> = {
  add: ["add_scalar", "add_scalar"],
  mul: ["mul_scalar", "mul_scalar"],
  sub: ["", "scalar_sub"],
  div: ["div_scalar", "scalar_div"],
};

/**
 * y (count) = a op number, or number op a if `swapped` is 1. The number is `value`, and for integers on a GPU the 32 bits
 * of `whole`.
 */
export const binaryNumberKernels: Record<BinaryName, Kernel<Params>> = mapOperators((
  name,
  { wgsl, functions = "", cpu, cpuWhole = cpu },
) => {
  const apply = (f: Operator["cpu"], a: number, number: number, swapped: number): number =>
    swapped ? f(number, a) : f(a, number);
  return flatKernel({
    name: `${kernelName(name)}_number`,
    inputs: 1,
    scalars: { value: "f32", whole: "i32", swapped: "i32" },
    functions: `${functions}
alias B = A;
fn number_f32() -> f32 { return params.value; }
fn number_i32() -> i32 { return params.whole; }
fn number_u32() -> u32 { return bitcast<u32>(params.whole); }
fn op(a: TA, b: TA) -> TY { return TY(${wgsl}); }
fn either(a: TA) -> TY {
  let n = number_TYPE();
  if (params.swapped == 1) { return op(n, a); }
  return op(a, n);
}`,
    wgsl: "either(a)",
    cpu: (a, value, _whole, swapped) => apply(cpu, a, Math.fround(value), swapped),
    cpuWhole: (a, value, _whole, swapped) => apply(cpuWhole, a, value, swapped),
    simd({ at, params, run }) {
      const { count, value, swapped } = params;
      if (name === "sub" && !swapped) run("add_scalar", count!, SIMD_CHUNK, at.a!, -value!, at.y!);
      else {
        const found = SIMD_NUMBER[name]?.[swapped!];
        if (!found) return false;
        run(found, count!, SIMD_CHUNK, at.a!, value!, at.y!);
      }
      return true;
    },
  });
});

/** Kernels with three operands, broadcast to y's shape. */
export const ternaryKernels = {
  /** y = a ? b : c; the condition `a` may have any dtype and is true where it is not 0. */
  where: broadcastKernel({
    name: "where",
    inputs: 3,
    wgsl: "select(b, c, a == TA(0))",
    cpu: (condition, a, b) => condition !== 0 ? a : b,
  }),
  /** The gradient of maximum(b, c) with respect to b, from dOut: a; ties share it. */
  maximumBackward: broadcastKernel({
    name: "maximum_backward",
    inputs: 3,
    wgsl: "select(select(0.0, a, b > c), 0.5 * a, b == c)",
    cpu: (dOut, x, other) => x === other ? 0.5 * dOut : x > other ? dOut : 0,
  }),
  /** The gradient of minimum(b, c) with respect to b, from dOut: a; ties share it. */
  minimumBackward: broadcastKernel({
    name: "minimum_backward",
    inputs: 3,
    wgsl: "select(select(0.0, a, b < c), 0.5 * a, b == c)",
    cpu: (dOut, x, other) => x === other ? 0.5 * dOut : x < other ? dOut : 0,
  }),
  /** The gradient of pow(b, c) with respect to the base b, from dOut: a. */
  powBackward: broadcastKernel({
    name: "pow_backward",
    inputs: 3,
    functions: POWER,
    wgsl: "select(a * c * power(b, c - 1.0), 0.0, c == 0.0)",
    cpu: (dOut, x, exponent) => exponent === 0 ? 0 : dOut * exponent * Math.pow(x, exponent - 1),
  }),
  /** The gradient of pow(b, c) with respect to the exponent c, from dOut: a. */
  powExponentBackward: broadcastKernel({
    name: "pow_exponent_backward",
    inputs: 3,
    functions: POWER,
    wgsl: "select(a * power(b, c) * log(b), 0.0, b == 0.0)",
    cpu: (dOut, x, exponent) => x === 0 ? 0 : dOut * Math.pow(x, exponent) * Math.log(x),
  }),
  /** The gradient of b / c with respect to the divisor c, from dOut: a. */
  divBackward: broadcastKernel({
    name: "div_backward",
    inputs: 3,
    // The square of c might overflow or vanish.
    wgsl: "-a * (b / c / c)",
    cpu: (dOut, a, b) => -dOut * (a / b / b),
  }),
} as const satisfies Record<string, Kernel<Params>>;
