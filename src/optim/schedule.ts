/**
 * Learning rate schedules: functions from the step, counted from 1, to the learning rate.
 *
 * @module
 */

/** Returns the learning rate of a step; steps count from 1, so the last one is `totalSteps`. */
export type Schedule = (step: number) => number;

/** Options of {@linkcode warmupCosine}. The length is given by either `decaySteps` or `totalSteps`. */
export type WarmupCosineOptions =
  & {
    /** The learning rate at the end of the warmup. */
    readonly maxLr: number;
    /** The learning rate after the decay. Default: 0. */
    readonly minLr?: number;
    /** The number of steps of linear growth from 0. Default: 0. */
    readonly warmupSteps?: number;
  }
  & ({
    /** The number of steps of the decay, after the warmup. */
    readonly decaySteps: number;
  } | {
    /** The number of steps of warmup and decay together. */
    readonly totalSteps: number;
  });

/**
 * Returns a schedule of linear growth to `maxLr`, half a cosine down to `minLr`, then constant `minLr`. Throws a
 * `RangeError` for negative rates, and for numbers of steps that are not integers or leave none for the decay.
 *
 * @example The schedule of GPT-2's reproduction
 * ```ts
 * import { warmupCosine } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const lr = warmupCosine({ maxLr: 6e-4, minLr: 6e-5, warmupSteps: 715, totalSteps: 19_073 });
 * assert.equal(lr(1).toExponential(5), "8.39161e-7");
 * assert.equal(lr(715), 6e-4);
 * assert.equal(lr(19_073), 6e-5);
 * ```
 */
export function warmupCosine(options: WarmupCosineOptions): Schedule {
  const { maxLr, minLr = 0, warmupSteps = 0 } = options;
  const decaySteps = "decaySteps" in options
    ? options.decaySteps
    : options.totalSteps - warmupSteps;
  checkRates("warmupCosine", minLr, maxLr);
  checkSteps("warmupCosine", { warmupSteps, decaySteps });
  return (step) => {
    if (step <= warmupSteps) return warmupSteps ? maxLr * step / warmupSteps : maxLr;
    if (step > warmupSteps + decaySteps) return minLr;
    const part = (step - warmupSteps) / decaySteps;
    return minLr + (maxLr - minLr) * (1 + Math.cos(Math.PI * part)) / 2;
  };
}

/** Options of {@linkcode warmupLinear}. */
export type WarmupLinearOptions = WarmupCosineOptions;

/** Like {@linkcode warmupCosine}, but with a linear decay to `minLr`. Throws the same errors. */
export function warmupLinear(options: WarmupLinearOptions): Schedule {
  const { maxLr, minLr = 0, warmupSteps = 0 } = options;
  const decaySteps = "decaySteps" in options
    ? options.decaySteps
    : options.totalSteps - warmupSteps;
  checkRates("warmupLinear", minLr, maxLr);
  checkSteps("warmupLinear", { warmupSteps, decaySteps });
  return (step) => {
    if (step <= warmupSteps) return warmupSteps ? maxLr * step / warmupSteps : maxLr;
    const left = Math.max(0, 1 - (step - warmupSteps) / decaySteps);
    return minLr + (maxLr - minLr) * left;
  };
}

/** Options of {@linkcode warmupStableDecay}. */
export interface WarmupStableDecayOptions {
  /** The learning rate after the warmup. */
  readonly maxLr: number;
  /** The learning rate of the last step. Default: 0. */
  readonly minLr?: number;
  /** The number of steps of linear growth from 0. Default: 0. */
  readonly warmupSteps?: number;
  /** The number of steps of the final decay. */
  readonly decaySteps: number;
  /** The number of steps of all three stages. */
  readonly totalSteps: number;
}

/**
 * Returns a schedule of linear growth to `maxLr`, a constant stage, and a linear decay to `minLr` (WSD, Hu et al. 2024,
 * "MiniCPM"; also called trapezoidal, Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed
 * Training Durations"). No rate before the decay depends on `totalSteps`, so a run can be extended from any checkpoint
 * before it, as if it had been longer from the start. Throws a `RangeError` for negative rates, and for stages that do
 * not fit.
 *
 * @example
 * ```ts
 * import { warmupStableDecay } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const lr = warmupStableDecay({ maxLr: 1, warmupSteps: 2, decaySteps: 4, totalSteps: 10 });
 * assert.deepEqual([1, 2, 6, 7, 10].map(lr), [0.5, 1, 1, 0.75, 0]);
 * ```
 */
export function warmupStableDecay(options: WarmupStableDecayOptions): Schedule {
  const { maxLr, minLr = 0, warmupSteps = 0, decaySteps, totalSteps } = options;
  checkRates("warmupStableDecay", minLr, maxLr);
  checkSteps("warmupStableDecay", { warmupSteps, decaySteps });
  if (!Number.isInteger(totalSteps) || warmupSteps + decaySteps > totalSteps) {
    throw new RangeError(
      `warmupStableDecay: expected totalSteps of at least ${
        warmupSteps + decaySteps
      } but got ${totalSteps}`,
    );
  }
  return (step) => {
    if (step <= warmupSteps) return maxLr * step / warmupSteps;
    const left = Math.max(0, Math.min(1, (totalSteps - step) / decaySteps));
    return minLr + (maxLr - minLr) * left;
  };
}

/** Options of {@linkcode batchSizeWarmup}. */
export interface BatchSizeWarmupOptions {
  /** The batch size after the warmup. */
  readonly batchSize: number;
  /** The batch size of the first step. */
  readonly initialBatchSize: number;
  /** The number of steps with a smaller batch. */
  readonly warmupSteps: number;
  /** What every batch size is a multiple of, such as the micro-batch size. Default: 1. */
  readonly multipleOf?: number;
}

/**
 * Returns a schedule of batch sizes, a function from the step, counted from 1, which grows linearly from
 * `initialBatchSize` to `batchSize` (Brown et al. 2020, "Language Models are Few-Shot Learners", appendix B). Early
 * gradients agree with each other, so more and smaller steps learn more from the same tokens. Throws a `RangeError` for
 * sizes that are not multiples of `multipleOf` or not in order.
 *
 * @example
 * ```ts
 * import { batchSizeWarmup } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const size = batchSizeWarmup({ initialBatchSize: 2, batchSize: 8, warmupSteps: 4, multipleOf: 2 });
 * assert.deepEqual([1, 2, 3, 4, 5, 99].map(size), [2, 4, 6, 6, 8, 8]);
 * ```
 */
export function batchSizeWarmup(options: BatchSizeWarmupOptions): (step: number) => number {
  const { batchSize, initialBatchSize: first, warmupSteps, multipleOf = 1 } = options;
  const isSound = [first, batchSize].every((size) => size > 0 && size % multipleOf === 0) &&
    first <= batchSize && Number.isInteger(warmupSteps) && warmupSteps >= 0;
  if (!isSound) {
    throw new RangeError(
      `batchSizeWarmup: expected multiples of ${multipleOf} that grow over some steps but got ${first}, ` +
        `${batchSize} and ${warmupSteps}`,
    );
  }
  return (step) => {
    if (step > warmupSteps) return batchSize;
    const size = first + (batchSize - first) * (step - 1) / warmupSteps;
    return Math.max(first, Math.round(size / multipleOf) * multipleOf);
  };
}

/** Returns a schedule with the same rate at every step. Throws a `RangeError` for a negative rate. */
export function constantLr(lr: number): Schedule {
  checkRates("constantLr", lr, lr);
  return () => lr;
}

function checkRates(what: string, minLr: number, maxLr: number): void {
  if (!(minLr >= 0 && maxLr >= minLr && maxLr < Infinity)) {
    throw new RangeError(
      `${what}: expected 0 <= minLr <= maxLr but got minLr ${minLr} and maxLr ${maxLr}`,
    );
  }
}

function checkSteps(
  what: string,
  { warmupSteps, decaySteps }: { warmupSteps: number; decaySteps: number },
): void {
  const whole = [warmupSteps, decaySteps].every((steps) => Number.isInteger(steps) && steps >= 0);
  if (!whole || decaySteps === 0) {
    throw new RangeError(
      `${what}: expected integers of steps, one or more for the decay, but got ${warmupSteps} ` +
        `of warm-up and ${decaySteps} of decay`,
    );
  }
}
