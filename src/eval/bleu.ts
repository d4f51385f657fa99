/**
 * BLEU (Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"): the share of a
 * translation's n-grams that occur in a reference, times a penalty for being too short.
 *
 * Sentences are texts whose words are separated by white space; several references are a list of texts.
 *
 * @module
 */
import { wordsOf } from "../tokenizer/text_vocabulary.ts";

/** Options of {@linkcode sentenceBleu} and {@linkcode corpusBleu}. */
export interface BleuOptions {
  /** The maximum length of the n-grams. Default: 4. */
  readonly maxOrder?: number;
  /** The exponents of the precisions of 1-grams, 2-grams and so on. Default: `1 / maxOrder` for each. */
  readonly weights?: readonly number[];
}

/**
 * Returns the weights 1/2, 1/4, 1/8, ... of "Dive into Deep Learning" (Zhang et al., section 10.7), which put less
 * weight on long n-grams. They sum to less than 1, so scores are higher than with equal weights.
 *
 * The project whose English-French run is reproduced here logs BLEU with these weights and with the arguments swapped:
 * `sentenceBleu(hypothesis, reference, { weights: halvingWeights() })`.
 */
export function halvingWeights(maxOrder?: number): number[] {
  return Array.from({ length: maxOrder ?? 4 }, (_, i) => 0.5 ** (i + 1));
}

/**
 * Returns the BLEU of one sentence, from 0 to 1, without smoothing: 0 if any of the precisions is 0, and therefore for
 * every hypothesis of fewer than `maxOrder` words. Throws a `RangeError` for an empty list of references, and unless
 * the weights are `maxOrder` numbers of 0 or more.
 *
 * @example
 * ```ts
 * import { halvingWeights, sentenceBleu } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const [reference, hypothesis] = ["que pense tom de mary ?", "que pense tom de marie ?"];
 * assert.equal(sentenceBleu(reference, reference), 1);
 * assert.equal(sentenceBleu(reference, hypothesis).toFixed(3), "0.537");
 * const weights = halvingWeights();
 * assert.equal(sentenceBleu(reference, hypothesis, { weights }).toFixed(3), "0.688");
 * ```
 */
export function sentenceBleu(
  reference: string | readonly string[],
  hypothesis: string,
  options?: BleuOptions,
): number {
  return bleu("sentenceBleu", [reference], [hypothesis], options ?? {});
}

/**
 * Returns the BLEU of a corpus, from 0 to 1, as the paper defines it: matches and n-grams are summed over all sentences
 * before they are divided, and the penalty uses the total lengths. With several references an n-gram is matched as
 * often as in the reference that has it most, and the penalty uses the reference closest in length, the shorter of two.
 * Throws a `RangeError` if there are no pairs, or the numbers of hypotheses and references differ.
 *
 * @example
 * ```ts
 * import { corpusBleu } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const references = ["oui .", ["le chat dort ici .", "ici dort le chat ."]];
 * assert.equal(corpusBleu(references, ["oui .", "le chat dort ici ."]), 1);
 * ```
 */
export function corpusBleu(
  references: readonly (string | readonly string[])[],
  hypotheses: readonly string[],
  options?: BleuOptions,
): number {
  return bleu("corpusBleu", references, hypotheses, options ?? {});
}

function bleu(
  what: string,
  references: readonly (string | readonly string[])[],
  hypotheses: readonly string[],
  options: BleuOptions,
): number {
  const weights = checkedWeights(what, options);
  if (hypotheses.length === 0 || references.length !== hypotheses.length) {
    throw new RangeError(
      `${what}: expected as many references as hypotheses, one or more, but got ` +
        `${references.length} and ${hypotheses.length}`,
    );
  }
  const matches = new Array<number>(weights.length).fill(0);
  const totals = new Array<number>(weights.length).fill(0);
  let hypothesisWords = 0;
  let referenceWords = 0;
  hypotheses.forEach((hypothesis, i) => {
    const words = wordsOf(hypothesis);
    const ways = [references[i]!].flat().map(wordsOf);
    if (ways.length === 0) {
      throw new RangeError(`${what}: pair ${i}: expected references but got none`);
    }
    hypothesisWords += words.length;
    referenceWords += closest(words.length, ways.map((way) => way.length));
    for (let n = 1; n <= weights.length; n++) {
      matches[n - 1]! += clippedMatches(words, ways, n);
      totals[n - 1]! += Math.max(0, words.length - n + 1);
    }
  });

  if (matches.some((count, i) => count === 0 && weights[i]! > 0)) return 0;
  const logPrecision = weights.reduce(
    (sum, weight, i) => weight > 0 ? sum + weight * Math.log(matches[i]! / totals[i]!) : sum,
    0,
  );
  const logPenalty = Math.min(0, 1 - referenceWords / hypothesisWords);
  return Math.exp(logPenalty + logPrecision);
}

/** Counts the n-grams of `words` that occur in a reference, each at most as often as there. */
function clippedMatches(words: string[], ways: string[][], n: number): number {
  const allowed = ways.map((way) => nGrams(way, n));
  let matches = 0;
  for (const [gram, count] of nGrams(words, n)) {
    matches += Math.min(count, Math.max(...allowed.map((counts) => counts.get(gram) ?? 0)));
  }
  return matches;
}

function nGrams(words: string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= words.length; i++) {
    const gram = words.slice(i, i + n).join(" ");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** Returns the length closest to `length`; of two equally close, the shorter. */
function closest(length: number, lengths: number[]): number {
  const distance = (other: number) => Math.abs(other - length);
  return lengths.reduce((best, other) =>
    distance(other) < distance(best) || (distance(other) === distance(best) && other < best)
      ? other
      : best
  );
}

function checkedWeights(what: string, options: BleuOptions): readonly number[] {
  const { maxOrder = 4 } = options;
  if (!(Number.isSafeInteger(maxOrder) && maxOrder >= 1)) {
    throw new RangeError(`${what}: expected a maxOrder of 1 or more but got ${maxOrder}`);
  }
  const { weights = new Array<number>(maxOrder).fill(1 / maxOrder) } = options;
  if (weights.length !== maxOrder || !weights.every((weight) => weight >= 0)) {
    throw new RangeError(
      `${what}: expected ${maxOrder} weights of 0 or more but got [${weights.join(", ")}]`,
    );
  }
  return weights;
}
