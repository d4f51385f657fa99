/**
 * Activation functions for f32 and f16. All keep shape and dtype, and throw a `TypeError` for integers.
 *
 * @module
 */
import { swigluBackward, swigluKernel } from "../../kernels/elementwise/swiglu.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDType } from "./check.ts";
import { applyUnary, launchFlat } from "./launch.ts";

/** Returns the hyperbolic tangent of each element. */
export function tanh(x: Tensor): Tensor {
  checkFloat("tanh", x);
  return applyUnary("tanh", x, "value");
}

/** Returns `1 / (1 + exp(-x))`, the logistic sigmoid. */
export function sigmoid(x: Tensor): Tensor {
  checkFloat("sigmoid", x);
  return applyUnary("sigmoid", x, "value");
}

/** Returns `max(x, 0)`. NaN is kept. */
export function relu(x: Tensor): Tensor {
  checkFloat("relu", x);
  return applyUnary("relu", x, "input");
}

/** Returns the square of `max(x, 0)` (So et al. 2021, arXiv:2109.08668). NaN is kept. */
export function reluSquared(x: Tensor): Tensor {
  checkFloat("reluSquared", x);
  return applyUnary("reluSquared", x, "input");
}

/**
 * Returns `cap * tanh(x / cap)`, which limits values to between -cap and cap and leaves small ones almost unchanged
 * (Gemma Team 2024, arXiv:2408.00118). Throws a `RangeError` unless `cap` is above 0.
 *
 * @example
 * ```ts
 * import { CpuDevice, softcap, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([-1000, 0, 1000], { device });
 * using y = softcap(x, 30);
 * assert.deepEqual([...await y.data()].map(Math.round), [-30, 0, 30]);
 * ```
 */
export function softcap(x: Tensor, cap: number): Tensor {
  checkFloat("softcap", x);
  if (!(cap > 0 && cap < Infinity)) {
    throw new RangeError(`softcap: expected a cap above 0 but got ${cap}`);
  }
  return applyUnary("softcap", x, "input", { cap });
}

/** Options of {@linkcode leakyRelu}. */
export interface LeakyReluOptions {
  /** The slope for negative inputs. Default: 0.01. */
  readonly negativeSlope?: number;
}

/**
 * Returns `x` where it is positive and `negativeSlope * x` elsewhere (Maas et al. 2013). NaN is kept.
 *
 * @example
 * ```ts
 * import { CpuDevice, leakyRelu, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([-4, 0, 3], { device });
 * using y = leakyRelu(x, { negativeSlope: 0.25 });
 * assert.deepEqual(await y.toArray(), [-1, 0, 3]);
 * ```
 */
export function leakyRelu(x: Tensor, options?: LeakyReluOptions): Tensor {
  checkFloat("leakyRelu", x);
  return applyUnary("leakyRelu", x, "input", { slope: options?.negativeSlope ?? 0.01 });
}

/** Options of {@linkcode gelu}. */
export interface GeluOptions {
  /** `none` is the exact GELU, by the error function; `tanh` is GPT-2's approximation. Default: `none`. */
  readonly approximate?: "none" | "tanh";
}

/**
 * Returns `x` times the probability that a standard normal variable is below `x` (Hendrycks and Gimpel 2016,
 * arXiv:1606.08415).
 */
export function gelu(x: Tensor, options?: GeluOptions): Tensor {
  const { approximate = "none" } = options ?? {};
  checkFloat("gelu", x);
  if (approximate !== "none" && approximate !== "tanh") {
    throw new TypeError(`gelu: expected approximate "none" or "tanh" but got "${approximate}"`);
  }
  return applyUnary(approximate === "tanh" ? "geluTanh" : "geluErf", x, "input");
}

/** Returns `x * sigmoid(x)`, also called swish. */
export function silu(x: Tensor): Tensor {
  checkFloat("silu", x);
  return applyUnary("silu", x, "input");
}

/** Returns `log(1 + exp(x))`, computed without overflow. */
export function softplus(x: Tensor): Tensor {
  checkFloat("softplus", x);
  return applyUnary("softplus", x, "input");
}

/**
 * Returns `silu(gate) * up`, for two tensors of the same shape (Shazeer 2020, arXiv:2002.05202). Throws a `TypeError`
 * if shapes or dtypes differ, and for integers.
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  checkFloat("swiglu", gate, up);
  sameDType("swiglu", gate, up);
  if (!sameShape(gate.shape, up.shape)) {
    throw new TypeError(
      `swiglu: expected one shape but got ${formatShape(gate.shape)} and ${formatShape(up.shape)}`,
    );
  }
  const y = launchFlat(swigluKernel, [gate, up]);
  return record("swiglu", [gate, up], y, [gate, up], (dOut, [gate, up]) => {
    const dGate = Tensor.empty(dOut.device, dOut.shape, dOut.dtype);
    const dUp = Tensor.empty(dOut.device, dOut.shape, dOut.dtype);
    dOut.device.launch(swigluBackward, { dOut, gate, up, dGate, dUp }, { count: dOut.size });
    return [dGate, dUp];
  });
}
