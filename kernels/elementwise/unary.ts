/**
 * Elementwise functions of one tensor, and their gradients.
 *
 * @module
 */
import { isFloat } from "../../src/device/dtype.ts";
import type { Kernel, Params } from "../../src/device/kernel.ts";
import { activations, activationsWgsl } from "./activations.ts";
import { flatKernel, type Formula, SIMD_CHUNK, simdExport } from "./elementwise.ts";

/** WGSL functions for which the built-in ones are missing or inaccurate. */
const SOFTCAP = `${activationsWgsl}
fn softcap_slope(x: f32) -> f32 {
  let t = tanh_(x);
  return 1.0 - t * t;
}
`;
const SIGMOID = `fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(-x));
}
`;
const SILU = `${SIGMOID}
fn silu_slope(x: f32) -> f32 {
  let s = sigmoid(x);
  return s * (1.0 + x * (1.0 - s));
}
`;
const LOG =
  `// log(1 + x) = 2 artanh(x / (x + 2)) for x from -1/4 to 1: a sum of 1 and a small x would round x away,
// and near 1 the built-in logarithm is allowed an absolute error of 2^-21.
fn log_one_plus(x: f32) -> f32 {
  let t = x / (x + 2.0);
  let q = t * t;
  let far = 0.14285714 + q * (0.11111111 + q * (0.09090909 + q * 0.07692308));
  return 2.0 * t * (1.0 + q * (0.33333333 + q * (0.2 + q * far)));
}
// Below 0 and for NaN the built-in one is allowed to return anything.
fn log_(x: f32) -> f32 {
  let y = select(log(x), log_one_plus(x - 1.0), abs(x - 1.0) < 0.25);
  let bits = bitcast<u32>(x);
  return bitcast<f32>(select(bitcast<u32>(y), 0x7fc00000u, bits > 0x7f800000u && bits != 0x80000000u));
}
`;
const SIN =
  `// Reduced to a quarter turn in three steps, then Taylor-like polynomials (Cephes): the built-in ones are
// allowed an error of 2^-11.
fn sine(x: f32, quarter: i32) -> f32 {
  let k = round(x * 0.6366197724);
  let r = ((x - k * 1.5703125) - k * 4.837512969970703e-4) - k * 7.549789948768648e-8;
  let q = r * r;
  let turn = (i32(k) + quarter) & 3;
  let s = r + r * q * (-1.6666654611e-1 + q * (8.3321608736e-3 - q * 1.9515295891e-4));
  let c = 1.0 - 0.5 * q + q * q * (4.166664568298827e-2 + q * (-1.388731625493765e-3 + q * 2.443315711809948e-5));
  let v = select(s, c, (turn & 1) == 1);
  return select(v, -v, turn >= 2);
}
`;

// NaN is neither above nor below 0, and must be returned as it is.
const SIGN = `
fn sign_f32(a: f32) -> f32 { return select(select(a, -1.0, a < 0.0), 1.0, a > 0.0); }
fn sign_i32(a: i32) -> i32 { return sign(a); }
fn sign_u32(a: u32) -> u32 { return min(a, 1u); }
`;

// Tests the bits, since compilers may assume that no float is NaN.
const IS_NAN = `
fn is_nan_f32(a: f32) -> bool { return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u; }
fn is_nan_i32(a: i32) -> bool { return false; }
fn is_nan_u32(a: u32) -> bool { return false; }
`;

const sigmoidOf = (x: number): number => 1 / (1 + Math.exp(-x));
const roundHalfEven = (x: number): number => {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
};

/** A WASM SIMD implementation that takes the cap after the addresses. */
function capped(name: string): Formula["simd"] {
  return ({ run, params, at }) => {
    run(name, params.count!, SIMD_CHUNK, ...Object.values(at), params.cap!);
    return true;
  };
}

function unary(
  name: string,
  wgsl: string,
  cpu: Formula["cpu"],
  more: Partial<Formula> = {},
): Kernel<Params> {
  return flatKernel({ name, inputs: 1, wgsl, cpu, ...more });
}

/** y (count) = f(a (count)), for floats and, where it makes sense, `i32` and `u32`. */
export const unaryKernels = {
  neg: unary("neg", "-a", (x) => -x, { simd: simdExport("neg") }),
  exp: unary("exp", "exp(a)", Math.exp, { simd: simdExport("exp") }),
  log: unary("log", "log_(a)", Math.log, { functions: LOG, simd: simdExport("log") }),
  sqrt: unary("sqrt", "sqrt(a)", Math.sqrt, { simd: simdExport("sqrt") }),
  rsqrt: unary("rsqrt", "inverseSqrt(a)", (x) => 1 / Math.sqrt(x), { simd: simdExport("rsqrt") }),
  abs: unary("abs", "abs(a)", Math.abs, { simd: simdExport("abs") }),
  sign: unary("sign", "sign_TYPE(a)", Math.sign, { functions: SIGN }),
  square: unary("square", "a * a", (x) => x * x, {
    cpuWhole: (x) => Math.imul(x, x),
    simd: simdExport("square"),
  }),
  reciprocal: unary("reciprocal", "1.0 / a", (x) => 1 / x, { simd: simdExport("reciprocal") }),
  tanh: unary("tanh", "tanh_(a)", Math.tanh, {
    functions: activationsWgsl,
    simd: simdExport("tanh"),
  }),
  sigmoid: unary("sigmoid", "sigmoid(a)", sigmoidOf, {
    functions: SIGMOID,
    simd: simdExport("sigmoid"),
  }),
  relu: unary("relu", "select(a, TA(0), a < TA(0))", (x) => x < 0 ? 0 : x, {
    simd: simdExport("relu"),
  }),
  reluSquared: unary(
    "relu_squared",
    "select(a * a, 0.0, a < 0.0)",
    (x) => x < 0 ? 0 : x * x,
    { simd: simdExport("relu_squared") },
  ),
  softcap: unary(
    "softcap",
    "params.cap * tanh_(a / params.cap)",
    (x, cap) => cap * Math.tanh(x / cap),
    { functions: activationsWgsl, scalars: { cap: "f32" }, simd: capped("softcap") },
  ),
  leakyRelu: unary(
    "leaky_relu",
    "select(a, a * params.slope, a < 0.0)",
    (x, slope) => x < 0 ? x * slope : x,
    { scalars: { slope: "f32" } },
  ),
  geluTanh: unary("gelu_tanh", "gelu_tanh(a)", activations.geluTanh.value, {
    functions: activationsWgsl,
    simd: simdExport("gelu_tanh"),
  }),
  geluErf: unary("gelu_erf", "gelu_erf(a)", activations.gelu.value, {
    functions: activationsWgsl,
    simd: simdExport("gelu_erf"),
  }),
  silu: unary("silu", "a * sigmoid(a)", (x) => x * sigmoidOf(x), {
    functions: SIGMOID,
    simd: simdExport("silu"),
  }),
  softplus: unary(
    "softplus",
    "max(a, 0.0) + log_one_plus(exp(-abs(a)))",
    (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    { functions: LOG },
  ),
  sin: unary("sin", "sine(a, 0)", Math.sin, { functions: SIN }),
  cos: unary("cos", "sine(a, 1)", Math.cos, { functions: SIN }),
  floor: unary("floor", "floor(a)", Math.floor),
  ceil: unary("ceil", "ceil(a)", Math.ceil),
  round: unary("round", "round(a)", roundHalfEven),
  clamp: unary(
    "clamp",
    "select(select(a, params.min, a < params.min), params.max, a > params.max)",
    (x, min, max) => x > max ? max : x < min ? min : x,
    { scalars: { min: "f32", max: "f32" } },
  ),
  isNaN: unary("is_nan", "select(0u, 1u, is_nan_TYPE(a))", (x) => Number.isNaN(x) ? 1 : 0, {
    functions: IS_NAN,
  }),
  logicalNot: unary("logical_not", "select(0u, 1u, a == TA(0))", (x) => x === 0 ? 1 : 0),
  cast: unary("cast", "a", (x) => x, {
    simd: (job) => isFloat(job.bindings.y!.dtype) && simdExport("copy")(job),
  }),
} as const satisfies Record<string, Kernel<Params>>;

function gradient(
  name: string,
  wgsl: string,
  cpu: Formula["cpu"],
  more: Partial<Formula> = {},
): Kernel<Params> {
  return flatKernel({ name: `${name}_backward`, inputs: 2, wgsl, cpu, ...more });
}

/** The functions whose gradient has a kernel of its own. */
export type UnaryBackwardName =
  | "log"
  | "sqrt"
  | "rsqrt"
  | "abs"
  | "square"
  | "reciprocal"
  | "tanh"
  | "sigmoid"
  | "relu"
  | "reluSquared"
  | "softcap"
  | "leakyRelu"
  | "geluTanh"
  | "geluErf"
  | "silu"
  | "softplus"
  | "sin"
  | "cos"
  | "clamp";

/** dX: y (count), from dOut: a (count) and b (count), which is x or, where that is simpler, the function's value. */
export const unaryBackwardKernels: Readonly<Record<UnaryBackwardName, Kernel<Params>>> = {
  log: gradient("log", "a / b", (dOut, x) => dOut / x, { simd: simdExport("div") }),
  sqrt: gradient("sqrt", "0.5 * a / b", (dOut, y) => 0.5 * dOut / y),
  rsqrt: gradient("rsqrt", "-0.5 * a * b * b * b", (dOut, y) => -0.5 * dOut * y ** 3),
  abs: gradient(
    "abs",
    "select(select(a, 0.0, b == 0.0), -a, b < 0.0)",
    (dOut, x) => x < 0 ? -dOut : x === 0 ? 0 : dOut,
  ),
  square: gradient("square", "2.0 * a * b", (dOut, x) => 2 * dOut * x),
  reciprocal: gradient("reciprocal", "-a * b * b", (dOut, y) => -dOut * y * y),
  tanh: gradient("tanh", "a * (1.0 - b * b)", (dOut, y) => dOut * (1 - y * y), {
    simd: simdExport("tanh_backward"),
  }),
  sigmoid: gradient("sigmoid", "a * b * (1.0 - b)", (dOut, y) => dOut * y * (1 - y), {
    simd: simdExport("sigmoid_backward"),
  }),
  relu: gradient("relu", "select(a, 0.0, b <= 0.0)", (dOut, x) => x <= 0 ? 0 : dOut, {
    simd: simdExport("relu_backward"),
  }),
  reluSquared: gradient(
    "relu_squared",
    "select(2.0 * a * b, 0.0, b <= 0.0)",
    (dOut, x) => x <= 0 ? 0 : 2 * dOut * x,
    { simd: simdExport("relu_squared_backward") },
  ),
  softcap: gradient(
    "softcap",
    "a * softcap_slope(b / params.cap)",
    (dOut, x, cap) => dOut * (1 - Math.tanh(x / cap) ** 2),
    { functions: SOFTCAP, scalars: { cap: "f32" }, simd: capped("softcap_backward") },
  ),
  leakyRelu: gradient(
    "leaky_relu",
    "select(a, a * params.slope, b <= 0.0)",
    (dOut, x, slope) => x <= 0 ? dOut * slope : dOut,
    { scalars: { slope: "f32" } },
  ),
  geluTanh: gradient(
    "gelu_tanh",
    "a * gelu_tanh_slope(b)",
    (dOut, x) => dOut * activations.geluTanh.slope(x),
    { functions: activationsWgsl, simd: simdExport("gelu_tanh_backward") },
  ),
  geluErf: gradient(
    "gelu_erf",
    "a * gelu_erf_slope(b)",
    (dOut, x) => dOut * activations.gelu.slope(x),
    { functions: activationsWgsl, simd: simdExport("gelu_erf_backward") },
  ),
  silu: gradient("silu", "a * silu_slope(b)", (dOut, x) => {
    const s = sigmoidOf(x);
    return dOut * s * (1 + x * (1 - s));
  }, { functions: SILU, simd: simdExport("silu_backward") }),
  softplus: gradient("softplus", "a * sigmoid(b)", (dOut, x) => dOut * sigmoidOf(x), {
    functions: SIGMOID,
  }),
  sin: gradient("sin", "a * sine(b, 1)", (dOut, x) => dOut * Math.cos(x), { functions: SIN }),
  cos: gradient("cos", "-a * sine(b, 0)", (dOut, x) => -dOut * Math.sin(x), { functions: SIN }),
  clamp: gradient(
    "clamp",
    "select(a, 0.0, b < params.min || b > params.max)",
    (dOut, x, min, max) => x < min || x > max ? 0 : dOut,
    { scalars: { min: "f32", max: "f32" } },
  ),
} as const satisfies Record<string, Kernel<Params>>;
