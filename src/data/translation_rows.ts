/**
 * Sentence pairs as the rows of ids that a translator is trained on.
 *
 * @module
 */
import { type TextVocabulary, wordsOf } from "../tokenizer/text_vocabulary.ts";
import type { SentencePair } from "./translation_pairs.ts";

/** How many ids a row has on either side. */
export interface TranslationLengths {
  /** Ids of a source row, `<EOS>` included. */
  readonly sourceLength: number;
  /** Ids of a target row, `<EOS>` included; as many are read, beginning with `<SOS>`. */
  readonly targetLength: number;
}

/** Some rows, one pair each, row after row. */
export interface TranslationBatch extends TranslationLengths {
  /** Number of rows. */
  readonly rows: number;
  /** The source sentences: words, `<EOS>`, `<PAD>`; (rows, sourceLength). */
  readonly sourceIds: Int32Array;
  /** What the decoder reads: `<SOS>` and the targets without the last; (rows, targetLength). */
  readonly decoderInputIds: Int32Array;
  /** What it is to say: words, `<EOS>`, `<PAD>`; (rows, targetLength). */
  readonly targets: Int32Array;
}

/**
 * The pairs whose both sides fit into rows of these lengths. Longer ones are dropped, not cut: half a
 * sentence beside a whole one teaches nothing, and an `<EOS>` after it something wrong.
 */
export function fittingPairs(
  pairs: readonly SentencePair[],
  { sourceLength, targetLength }: TranslationLengths,
): SentencePair[] {
  return pairs.filter(({ source, target }) =>
    wordsOf(source).length < sourceLength && wordsOf(target).length < targetLength
  );
}

/** Pairs encoded once, handed out as batches in any order. */
export class TranslationRows implements TranslationLengths {
  /** Number of pairs. */
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

  /** The rows of these pairs, in this order. Throws a `RangeError` for a pair that is not there. */
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
   * All pairs in batches of `size`, the last one perhaps smaller; in the order of `order` where it is given,
   * from batch `from` on.
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

/** Rows that begin with `startId` and go on with all but the last of their ids. */
function shiftedRight(rows: Int32Array, length: number, startId: number): Int32Array {
  const shifted = new Int32Array(rows.length);
  for (let at = 0; at < rows.length; at += length) {
    shifted[at] = startId;
    shifted.set(rows.subarray(at, at + length - 1), at + 1);
  }
  return shifted;
}
