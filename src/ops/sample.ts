/**
 * Sampling from scores.
 *
 * @module
 */
import type { RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { add, div, neg } from "./arithmetic.ts";
import { checkFloat, checkRank } from "./check.ts";
import { cast } from "./cast.ts";
import { less } from "./compare.ts";
import { log } from "./math.ts";
import { rand } from "./random.ts";
import { argmax } from "./reduce.ts";
import { slice } from "./slice.ts";
import { topK } from "./top_k.ts";
import { maskedFill } from "./where.ts";

/** Options of {@linkcode sample}. */
export interface SampleOptions {
  /** Scores are divided by it: below 1 the likely become likelier; 0 takes the highest. Default: 1. */
  readonly temperature?: number;
  /** Draws among the so many highest scores only (and their equals). Default: all. */
  readonly topK?: number;
  /** The stream to draw from; default: the shared one (see `manualSeed`). */
  readonly random?: RandomState;
}

/**
 * One id (B) for each row of `logits` (B, V), drawn with the probabilities of its softmax, on the device: the
 * highest of the scores with Gumbel noise added (Gumbel 1954). Has no gradient. Throws a `RangeError` for a
 * negative temperature, and for a `topK` below 1.
 */
export function sample(logits: Tensor, options: SampleOptions = {}): Tensor {
  const { temperature = 1, topK: most, random } = options;
  checkFloat("sample", logits);
  checkRank("sample", logits, 2, "logits (B, V)");
  if (!(temperature >= 0)) {
    throw new RangeError(`sample: expected a temperature of 0 or more but got ${temperature}`);
  }
  if (most !== undefined && !(Number.isInteger(most) && most >= 1)) {
    throw new RangeError(`sample: expected a topK of 1 or more but got ${most}`);
  }
  return noGrad(() =>
    scoped(() => {
      if (temperature === 0) return argmax(logits, -1);
      const { shape, device } = logits;
      const wide = cast(logits, "f32");
      // In (0, 1), so that neither logarithm meets 0.
      const uniform = rand(shape, { device, random, low: 2 ** -25, high: 1 });
      const noise = neg(log(neg(log(uniform))));
      const scores = most === undefined ? wide : keepHighest(wide, most);
      return argmax(add(div(scores, temperature), noise), -1);
    })
  );
}

/** The scores with all but the `most` highest of each row, and what equals them, at -Infinity. */
function keepHighest(logits: Tensor, most: number): Tensor {
  const [rows, columns] = logits.shape;
  if (most >= columns) return logits;
  const lowest = slice(topK(logits, most).values, [[0, rows], [most - 1, most]]);
  return maskedFill(logits, less(logits, lowest), -Infinity);
}
