/**
 * Learning rates over the steps of a run. A schedule is a function from the step, counted from 1, to a rate.
 *
 * @module
 */

/** The learning rate of a step, counted from 1. */
export type Schedule = (step: number) => number;

/** Options of {@linkcode warmupCosine}: how long it is, told by one of `decaySteps` and `totalSteps`. */
export type WarmupCosineOptions =
  & {
    /** The rate at the end of the warm-up. */
    readonly maxLr: number;
    /** The rate after the decay. Default: 0. */
    readonly minLr?: number;
    /** Steps of linear growth from 0. Default: 0. */
    readonly warmupSteps?: number;
  }
  & ({
    /** Steps of the decay, after the warm-up. */
    readonly decaySteps: number;
  } | {
    /** Steps of warm-up and decay together. */
    readonly totalSteps: number;
  });

/**
 * Linear growth to `maxLr` over the warm-up, half a cosine down to `minLr`, then `minLr`. Throws a
 * `RangeError` for rates below 0, and steps that are not whole or leave nothing for the decay.
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

/** As {@linkcode warmupCosine}, with a straight line down to `minLr`. Throws the same. */
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

/** The same rate at every step. Throws a `RangeError` for one below 0. */
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
