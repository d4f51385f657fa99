/**
 * Sentence pairs as rows of ids for training a translator.
 *
 * @module
 */
import { type TextVocabulary, wordsOf } from "../tokenizer/text_vocabulary.ts";
import type { SentencePair } from "./translation_pairs.ts";

/** The number of ids in a row on either side. */
export interface TranslationLengths {
  /** The number of ids in a source row, including `<EOS>`. */
  readonly sourceLength: number;
  /** The number of ids in a target row, including `<EOS>`; the decoder reads as many, beginning with `<SOS>`. */
  readonly targetLength: number;
}

/** A batch of rows, one pair each, row after row. */
export interface TranslationBatch extends TranslationLengths {
  /** The number of rows. */
  readonly rows: number;
  /** The source sentences: words, `<EOS>`, `<PAD>`; (rows, sourceLength). */
  readonly sourceIds: Int32Array;
  /** The decoder's inputs: `<SOS>` and the targets without the last; (rows, targetLength). */
  readonly decoderInputIds: Int32Array;
  /** The decoder's targets: words, `<EOS>`, `<PAD>`; (rows, targetLength). */
  readonly targets: Int32Array;
}

/**
 * Returns the pairs of which both sides fit into rows of these lengths. Longer ones are dropped, not cut: half a
 * sentence beside a whole one teaches nothing, and an `<EOS>` after it teaches something wrong.
 */
export function fittingPairs(
  pairs: readonly SentencePair[],
  { sourceLength, targetLength }: TranslationLengths,
): SentencePair[] {
  return pairs.filter(({ source, target }) =>
    wordsOf(source).length < sourceLength && wordsOf(target).length < targetLength
  );
}

/** Pairs encoded once, from which batches can be taken in any order. */
export class TranslationRows implements TranslationLengths {
  /** The number of pairs. */
  readonly count: number;
  readonly sourceLength: number;
  readonly targetLength: number;
  readonly #sourceIds: Int32Array;
  readonly #decoderInputIds: Int32Array;
  readonly #targets: Int32Array;

  /** Encodes pairs with the vocabularies of both languages; a side that is too long is cut. */
  constructor(
    pairs: readonly SentencePair[],
    source: TextVocabulary,
    target: TextVocabulary,
    { sourceLength, targetLength }: TranslationLengths,
  ) {
    this.count = pairs.length;
    this.sourceLength = sourceLength;
    this.targetLength = targetLength;
    this.#sourceIds = source.encodeBatch(pairs.map((pair) => pair.source), sourceLength);
    this.#targets = target.encodeBatch(pairs.map((pair) => pair.target), targetLength);
    this.#decoderInputIds = shiftedRight(this.#targets, targetLength, target.startId);
  }

  /** Returns the rows of these pairs, in this order. Throws a `RangeError` for a pair that does not exist. */
  batch(pairs: ArrayLike<number>): TranslationBatch {
    const { count, sourceLength, targetLength } = this;
    const pick = (rows: Int32Array, length: number) => {
      const picked = new Int32Array(pairs.length * length);
      for (let i = 0; i < pairs.length; i++) {
        if (!(pairs[i]! >= 0 && pairs[i]! < count)) {
          throw new RangeError(
            `TranslationRows: expected pairs from 0 to ${count - 1} but got ${pairs[i]}`,
          );
        }
        picked.set(rows.subarray(pairs[i]! * length, (pairs[i]! + 1) * length), i * length);
      }
      return picked;
    };
    return {
      rows: pairs.length,
      sourceLength,
      targetLength,
      sourceIds: pick(this.#sourceIds, sourceLength),
      decoderInputIds: pick(this.#decoderInputIds, targetLength),
      targets: pick(this.#targets, targetLength),
    };
  }

  /**
   * Yields all pairs in batches of `size`, the last one possibly smaller, in the order of `order` if given, from batch
   * `from` on.
   */
  *batches(
    size: number,
    options?: { readonly order?: Uint32Array; readonly from?: number | undefined },
  ): Generator<TranslationBatch> {
    const { order = Uint32Array.from(Array(this.count).keys()), from = 0 } = options ?? {};
    for (let at = from * size; at < order.length; at += size) {
      yield this.batch(order.subarray(at, at + size));
    }
  }
}

/** Returns rows that begin with `startId` and continue with all but the last of their ids. */
function shiftedRight(rows: Int32Array, length: number, startId: number): Int32Array {
  const shifted = new Int32Array(rows.length);
  for (let at = 0; at < rows.length; at += length) {
    shifted[at] = startId;
    shifted.set(rows.subarray(at, at + length - 1), at + 1);
  }
  return shifted;
}
