/**
 * What a model must offer for decoding, and the checks of what it is asked to continue.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import type { KeyValueCache } from "../nn/key_value_cache.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { fitsVocabulary, type Tokenizer } from "../tokenizer/tokenizer.ts";

/** A model that scores next tokens: every language model here, and a translator's decoder. */
export interface NextTokenModel {
  /** Ids run from 0 to `vocabSize` - 1; sequences have at most `maxPositionEmbeddings` tokens. */
  readonly config: { readonly vocabSize: number; readonly maxPositionEmbeddings: number };
  /** The device of the model. */
  readonly device: Device;
  /** Creates an empty cache for `batch` sequences. */
  createCache(batch: number): KeyValueCache;
  /**
   * Returns the scores (B, V) of the token after `ids` (B, T), `i32`, which continue what the cache holds and are added
   * to it. `lengths` is the number of ids that count in each row, if rows are padded on the right.
   */
  nextLogits(
    ids: Tensor,
    options: { readonly cache?: KeyValueCache | undefined; readonly lengths?: readonly number[] },
  ): Tensor;
}

/**
 * Returns the number of ids that both a model and a tokenizer have. Throws a `RangeError` if the model lacks ids of text
 * (see {@linkcode fitsVocabulary}).
 */
export function sharedVocabSize(
  op: string,
  { config: { vocabSize } }: NextTokenModel,
  tokenizer: Tokenizer,
): number {
  if (fitsVocabulary(tokenizer, vocabSize)) return Math.min(tokenizer.vocabSize, vocabSize);
  throw new RangeError(
    `${op}: expected a tokenizer of at most ${vocabSize} ids, as the model has, but got ${tokenizer.vocabSize}`,
  );
}

/** Throws a `RangeError` for a prompt that is empty or has an id that the model does not have. */
export function checkPrompts(
  op: string,
  prompts: readonly ArrayLike<number>[],
  vocabSize: number,
): void {
  prompts.forEach((prompt, p) => {
    const which = prompts.length === 1 ? "the prompt" : `prompt ${p}`;
    if (prompt.length === 0) {
      throw new RangeError(`${op}: expected tokens in ${which} but got none`);
    }
    for (let i = 0; i < prompt.length; i++) {
      const id = prompt[i]!;
      if (!(Number.isInteger(id) && id >= 0 && id < vocabSize)) {
        throw new RangeError(
          `${op}: expected ids from 0 to ${vocabSize - 1} but got ${id} at ${i} of ${which}`,
        );
      }
    }
  });
}

/**
 * Returns the number of tokens to add to each prompt: `length`, or what the longest prompt leaves of the context.
 * Throws a `RangeError` if the result exceeds the context, unless it `slides`; `what` names a prompt in the message.
 */
export function checkedLength(
  op: string,
  { config: { maxPositionEmbeddings: contextSize } }: NextTokenModel,
  prompts: readonly ArrayLike<number>[],
  length: number | undefined,
  { slides = false, what = "a prompt" }: { slides?: boolean; what?: string } = {},
): number {
  const longest = Math.max(0, ...prompts.map((prompt) => prompt.length));
  // The last token is generated but never read by the model.
  const made = length ?? Math.max(1, contextSize + 1 - longest);
  if (!(Number.isInteger(made) && made >= 0)) {
    throw new RangeError(`${op}: expected a length of 0 or more but got ${made}`);
  }
  if (!slides && longest + Math.max(made, 1) - 1 > contextSize) {
    throw new RangeError(
      `${op}: expected at most ${contextSize} tokens of context but got ${what} of ${longest} and ${made} more`,
    );
  }
  return made;
}
