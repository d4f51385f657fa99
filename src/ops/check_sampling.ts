/**
 * How ids are sampled, and the check that every way to do it makes first.
 *
 * @module
 */

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
  readonly topK?: number;
  /**
   * Draws among the fewest likeliest ids only (and their equals) that together have this probability (Holtzman
   * et al. 2020, "The Curious Case of Neural Text Degeneration"). Default: 1.
   */
  readonly topP?: number;
  /** Draws among the ids only that have this part of the likeliest one's probability. Default: 0. */
  readonly minP?: number;
  /** Ids from here on are never drawn, as those that only pad a vocabulary. Default: all may be. */
  readonly vocabSize?: number;
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
