/**
 * Sampling from scores.
 *
 * @module
 */
import { sampleToken } from "../../kernels/sampling/sample_token.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import { formatShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkIds, checkRank, sameDevice } from "./check.ts";

/** What changes the probabilities before an id is drawn; applied in the order in which they stand here. */
export interface SamplingOptions {
  /**
   * Scores of ids that came before are divided by it where they are positive and multiplied where they are
   * negative (Keskar et al. 2019, "CTRL"): above 1 avoids repetition. Default: 1.
   */
  readonly repetitionPenalty?: number;
  /** Scores are divided by it: below 1 the likely become likelier; 0 takes the highest. Default: 1. */
  readonly temperature?: number;
  /** Draws among the so many highest scores only (and their equals). Default: all. */
  readonly topK?: number | undefined;
  /**
   * Draws among the fewest likeliest ids only (and their equals) that together have this probability (Holtzman
   * et al. 2020, "The Curious Case of Neural Text Degeneration"). Default: 1.
   */
  readonly topP?: number;
  /** Draws among the ids only that have this part of the likeliest one's probability. Default: 0. */
  readonly minP?: number;
  /** Ids from here on are never drawn, as those that only pad a vocabulary. Default: all may be. */
  readonly vocabSize?: number | undefined;
}

/**
 * Throws a `RangeError` unless every option is in its range, for a model of `columns` ids; `op` begins the
 * message.
 */
export function checkSampling(op: string, options: SamplingOptions, columns: number): void {
  const { repetitionPenalty = 1, temperature = 1, topK = 1, topP = 1, minP = 0 } = options;
  const { vocabSize = columns } = options;
  const check = (right: boolean, wanted: string, value: number): void => {
    if (!right) throw new RangeError(`${op}: expected ${wanted} but got ${value}`);
  };
  const finite = (x: number): boolean => x >= 0 && x < Infinity;
  const part = (x: number): boolean => x >= 0 && x <= 1;
  const whole = Number.isInteger(vocabSize);
  check(
    repetitionPenalty > 0 && finite(repetitionPenalty),
    "a repetitionPenalty above 0",
    repetitionPenalty,
  );
  check(finite(temperature), "a temperature of 0 or more", temperature);
  check(Number.isInteger(topK) && topK >= 1, "a topK of 1 or more", topK);
  check(part(topP), "a topP from 0 to 1", topP);
  check(part(minP), "a minP from 0 to 1", minP);
  check(
    whole && vocabSize >= 1 && vocabSize <= columns,
    `a vocabSize from 1 to ${columns}`,
    vocabSize,
  );
}

/** Options of {@linkcode sample}. */
export interface SampleOptions extends SamplingOptions {
  /** The ids that `repetitionPenalty` applies to: not 0 (B, V), of `i32` or `u32`. */
  readonly seen?: Tensor | undefined;
  /** The stream to draw from; default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/**
 * One id (B) of `i32` for each row of `logits` (B, V), drawn with the probabilities of its softmax, on the
 * device and in one launch: the highest of the scores with Gumbel noise added (Gumbel 1954). A seed gives the
 * same ids on every device. -1 where no score of the row is a number. Has no gradient.
 *
 * Throws a `RangeError` for an option out of its range, and a `TypeError` for a penalty without `seen`.
 *
 * @example
 * ```ts
 * import { CpuDevice, RandomState, sample, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([[0, 9, 0], [5, 5, 0]], { device });
 * using ids = sample(logits, { topP: 0.9, random: new RandomState(1) });
 * const [first, second] = await ids.data();
 * assert.equal(first, 1);
 * assert(second === 0 || second === 1);
 * ```
 */
export function sample(logits: Tensor, options?: SampleOptions): Tensor {
  checkFloat("sample", logits);
  checkRank("sample", logits, 2, "logits (B, V)");
  const [rows, columns] = logits.shape as [number, number];
  checkSampling("sample", options ?? {}, columns);
  const { repetitionPenalty = 1, temperature = 1, topK = columns, topP = 1, minP = 0 } = options ??
    {};
  const { vocabSize = columns, random = defaultRandom() } = options ?? {};
  const seen = repetitionPenalty === 1 ? undefined : options?.seen;
  if (repetitionPenalty !== 1) checkSeen(logits, seen);
  const device = sameDevice("sample", logits, seen);
  const ids = Tensor.empty(device, [rows], "i32");
  const drawn = temperature === 0 ? 0 : rows * Math.ceil(columns / 4) * 4;
  device.launch(sampleToken, { logits, seen, ids }, {
    rows,
    columns,
    choices: vocabSize,
    ...random.draw(drawn),
    first: 0,
    penalty: repetitionPenalty,
    sharpness: temperature === 0 ? 0 : Math.min(1 / temperature, 1e30),
    topK: Math.min(topK, columns),
    topP,
    floor: Math.max(Math.log(minP), -3e38),
  });
  return ids;
}

function checkSeen(logits: Tensor, seen: Tensor | undefined): void {
  if (!seen) {
    throw new TypeError("sample: expected seen (B, V) with a repetitionPenalty but got none");
  }
  checkIds("sample", seen);
  if (formatShape(seen.shape) !== formatShape(logits.shape)) {
    throw new TypeError(
      `sample: expected seen of shape ${formatShape(logits.shape)} but got ${
        formatShape(seen.shape)
      }`,
    );
  }
}
