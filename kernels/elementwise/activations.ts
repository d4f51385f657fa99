/**
 * Activation functions that elementwise kernels and matrix products apply.
 *
 * @module
 */
import wgsl from "./activations.wgsl" with { type: "text" };

/** The WGSL source of the functions, for the type named by its alias `REAL`. */
export const activationsWgsl: string = wgsl;

/** The activation functions that a matrix product can apply to its result. */
export type Activation = "gelu" | "geluTanh" | "relu" | "reluSquared";

/**
 * An activation function in TypeScript, and the WASM export that computes it; with `_backward`, that of its gradient.
 */
interface Formulas {
  readonly value: (x: number) => number;
  readonly slope: (x: number) => number;
  readonly simd: string;
}

const tanhInner = (x: number): number => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);

/** The activation functions. */
export const activations: Readonly<Record<Activation, Formulas>> = {
  gelu: {
    value: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
    slope: (x) =>
      0.5 * (1 + erf(x * Math.SQRT1_2)) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI),
    simd: "gelu_erf",
  },
  geluTanh: {
    value: (x) => 0.5 * x * (1 + Math.tanh(tanhInner(x))),
    slope: (x) => {
      const t = Math.tanh(tanhInner(x));
      const inner = Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner;
    },
    simd: "gelu_tanh",
  },
  relu: { value: (x) => x < 0 ? 0 : x, slope: (x) => x <= 0 ? 0 : 1, simd: "relu" },
  reluSquared: {
    value: (x) => x < 0 ? 0 : x * x,
    slope: (x) => x <= 0 ? 0 : 2 * x,
    simd: "relu_squared",
  },
};

/** The error function in double precision: a series near 0, a continued fraction for the tails. */
function erf(x: number): number {
  const m = Math.abs(x);
  if (m < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return sum * 1.1283791670955126;
  }
  if (m > 6) return Math.sign(x);
  let fraction = m;
  for (let n = 60; n > 0; n--) fraction = m + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-m * m) / (fraction * 1.7724538509055159));
}
