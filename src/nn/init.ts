/**
 * Initial values of parameters, by PyTorch's names.
 *
 * @module
 */
import { defaultDevice } from "../device/default.ts";
import type { Device } from "../device/device.ts";
import type { DType } from "../device/dtype.ts";
import { rand, randn } from "../ops/random.ts";
import { constant as filled } from "../tensor/create.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import type { Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { parameter } from "./module.ts";

/** Options for creating parameters. */
export interface ParameterOptions {
  /** The device. Default: the first that was opened. */
  readonly device?: Device | undefined;
  /** `f32`, or `f16` for mixed precision. Default: `f32`. */
  readonly dtype?: DType | undefined;
  /**
   * The random stream for the initial values; `null` leaves them 0, for parameters that are read from a file. Default:
   * the shared stream (see `manualSeed`).
   */
  readonly random?: RandomState | null | undefined;
}

/** Makes the initial values of a parameter of a given shape. A matrix is (outputs, inputs). */
export type Initializer = (shape: Shape, options: InitializerOptions) => Tensor;

/** {@linkcode ParameterOptions} with all defaults filled in. */
export type InitializerOptions = {
  readonly [K in keyof ParameterOptions]-?: Exclude<ParameterOptions[K], undefined>;
};

/** Creates a parameter with initial values. */
export function createParameter(
  shape: Shape,
  init: Initializer,
  options: ParameterOptions,
): Tensor {
  const { device = defaultDevice(), dtype = "f32" } = options;
  const random = options.random === undefined ? defaultRandom() : options.random;
  return parameter(init(shape, { device, dtype, random }));
}

/** Initialises all elements to one value. */
export function constant(value: number): Initializer {
  return (shape, { device, dtype }) => filled(device, shape, value, dtype);
}

/** Initialises all elements to 0. */
export const zeros: Initializer = constant(0);

/** Initialises all elements to 1. */
export const ones: Initializer = constant(1);

/** Draws from a normal distribution. */
export function normal(std?: number, mean?: number): Initializer {
  const distribution = { std: std ?? 1, mean: mean ?? 0 };
  return (shape, options) =>
    options.random
      ? randn(shape, { ...options, ...distribution, random: options.random })
      : zeros(shape, options);
}

/** Draws uniformly from [low, high). */
export function uniform(low?: number, high?: number): Initializer {
  const range = { low: low ?? 0, high: high ?? 1 };
  return (shape, options) =>
    options.random
      ? rand(shape, { ...options, ...range, random: options.random })
      : zeros(shape, options);
}

/**
 * Draws uniformly from +-sqrt(6 / ((1 + a^2) inputs)), which keeps the variance of activations through layers with a
 * leaky ReLU of negative slope `a`; 0 is a ReLU (He et al. 2015, https://arxiv.org/abs/1502.01852).
 */
export function kaimingUniform(a?: number): Initializer {
  return symmetric(([, inputs]) => Math.sqrt(6 / ((1 + (a ?? 0) ** 2) * inputs)));
}

/** Like {@linkcode kaimingUniform}, but from a normal distribution of the same variance. */
export function kaimingNormal(a?: number): Initializer {
  return (shape, options) =>
    normal(Math.sqrt(2 / ((1 + (a ?? 0) ** 2) * fans(shape)[1])))(shape, options);
}

/**
 * Draws uniformly from +-gain sqrt(6 / (inputs + outputs)), which keeps the variance of activations and of gradients
 * (Glorot and Bengio 2010).
 */
export function xavierUniform(gain?: number): Initializer {
  return symmetric(([outputs, inputs]) => (gain ?? 1) * Math.sqrt(6 / (inputs + outputs)));
}

/** Like {@linkcode xavierUniform}, but from a normal distribution of the same variance. */
export function xavierNormal(gain?: number): Initializer {
  return (shape, options) => {
    const [outputs, inputs] = fans(shape);
    return normal((gain ?? 1) * Math.sqrt(2 / (inputs + outputs)))(shape, options);
  };
}

/** Draws uniformly from +-a bound that depends on the matrix. */
function symmetric(boundOf: (fans: readonly [number, number]) => number): Initializer {
  return (shape, options) => {
    const bound = boundOf(fans(shape));
    return uniform(-bound, bound)(shape, options);
  };
}

function fans(shape: Shape): readonly [outputs: number, inputs: number] {
  const [outputs, inputs] = shape as [number, number];
  if (shape.length === 2) return [outputs, inputs];
  throw new TypeError(`init: expected a matrix (outputs, inputs) but got [${shape.join(", ")}]`);
}
