/**
 * Random tensors, and dropout.
 *
 * @module
 */
import { dropout as dropoutKernel } from "../../kernels/sampling/dropout.ts";
import { randomNormal, randomUniform } from "../../kernels/sampling/random_fill.ts";
import { defaultDevice } from "../device/default.ts";
import { INTEGER_RANGES, isFloat } from "../device/dtype.ts";
import type { CreateOptions } from "../tensor/create.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import { checkShape, type Shape } from "../tensor/shape.ts";
import { noGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkProbability } from "./check.ts";
import { add, cast } from "./elementwise.ts";

/** Options of {@linkcode rand}. */
export interface RandOptions extends CreateOptions {
  /** The random stream to draw from. Default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
  /** The lower bound, included. Default: 0. */
  readonly low?: number;
  /** The upper bound, excluded. Default: 1. */
  readonly high?: number;
}

/** Returns a tensor of numbers drawn uniformly from [low, high), `f32` or `f16`; rounded to f16, some may be `high`. */
export function rand(shape: Shape, options?: RandOptions): Tensor {
  const { low = 0, high = 1 } = options ?? {};
  return draw("rand", randomUniform, shape, low, high - low, options);
}

/** Options of {@linkcode randn}. */
export interface RandnOptions extends CreateOptions {
  /** The random stream to draw from. Default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
  /** The mean. Default: 0. */
  readonly mean?: number;
  /** The standard deviation. Default: 1. */
  readonly std?: number;
}

/**
 * Returns a tensor of numbers drawn from a normal distribution, `f32` or `f16`. Both devices give the same numbers to
 * within 1e-6 of `std`.
 */
export function randn(shape: Shape, options?: RandnOptions): Tensor {
  return draw("randn", randomNormal, shape, options?.mean ?? 0, options?.std ?? 1, options);
}

/** Options of {@linkcode randint}. */
export interface RandintOptions extends CreateOptions {
  /** The random stream to draw from. Default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/**
 * Returns a tensor of integers drawn uniformly from [low, high); `i32` by default. Throws a `RangeError` unless both
 * bounds are integers and `high - low` is from 1 to 2^24.
 */
export function randint(
  low: number,
  high: number,
  shape: Shape,
  options?: RandintOptions,
): Tensor {
  const range = high - low;
  // A larger range would need more bits than the uniform numbers have.
  if (!Number.isInteger(low) || !Number.isInteger(high) || !(range >= 1 && range <= 2 ** 24)) {
    throw new RangeError(
      `randint: expected integers with 1 to 2^24 between them but got ${low} and ${high}`,
    );
  }
  const { dtype = "i32" } = options ?? {};
  if (isFloat(dtype)) throw new TypeError(`randint: expected i32 or u32 but got ${dtype}`);
  const [lowest, highest] = INTEGER_RANGES[dtype]!;
  if (low < lowest || high - 1 > highest) {
    throw new RangeError(
      `randint: expected integers from ${lowest} to ${highest} for ${dtype} but got ${low} and ${high}`,
    );
  }
  return noGrad(() =>
    scoped(() => {
      const drawn = draw("randint", randomUniform, shape, 0, range, { ...options, dtype: "f32" });
      return add(cast(drawn, dtype), low);
    })
  );
}

function draw(
  op: string,
  kernel: typeof randomUniform,
  shape: Shape,
  shift: number,
  scale: number,
  options: RandOptions = {},
): Tensor {
  const { device = defaultDevice(), dtype = "f32", random = defaultRandom() } = options;
  if (!isFloat(dtype)) throw new TypeError(`${op}: expected f32 or f16 but got ${dtype}`);
  const y = Tensor.empty(device, checkShape(op, shape), dtype);
  device.launch(kernel, { y }, { count: y.size, ...random.draw(y.size), first: 0, shift, scale });
  return y;
}

/** Options of {@linkcode dropout}. */
export interface DropoutOptions {
  /** The random stream to draw from. Default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/**
 * Sets each element to 0 with probability `p` and divides the others by 1 - p, for training. No mask is stored: the
 * backward pass draws the same numbers again. Throws a `RangeError` unless p is in [0, 1). (Srivastava et al. 2014.)
 */
export function dropout(x: Tensor, p: number, options?: DropoutOptions): Tensor {
  checkFloat("dropout", x);
  checkProbability("dropout", p);
  const { random = defaultRandom() } = options ?? {};
  const params = { count: x.size, ...random.draw(x.size), first: 0, p };
  const drop = (from: Tensor): Tensor => {
    const y = Tensor.empty(from.device, from.shape, from.dtype);
    from.device.launch(dropoutKernel, { x: from, y }, params);
    return y;
  };
  return record("dropout", [x], drop(x), [], (dOut) => [drop(dOut)]);
}
