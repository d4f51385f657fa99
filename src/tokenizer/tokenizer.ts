/**
 * What a tokenizer is: text to ids and back. No device and no model is needed to use one.
 *
 * @module
 */

/** How {@linkcode Tokenizer.encode} treats the text of special tokens; the names are tiktoken's. */
export interface EncodeOptions {
  /**
   * Special tokens whose text becomes their id: `"all"`, or the ones listed. Default: none.
   * Names that the tokenizer does not have are ignored, as in tiktoken.
   */
  allowedSpecial?: "all" | Iterable<string>;
  /**
   * Special tokens whose text is refused with a {@linkcode SpecialTokenError}: `"all"` (those not
   * allowed), or the ones listed. What is neither allowed nor refused is encoded as ordinary text,
   * so `disallowedSpecial: []` takes any text as it is. Default: `"all"`.
   */
  disallowedSpecial?: "all" | Iterable<string>;
}

/** Turns text into token ids and token ids into text. */
export interface Tokenizer {
  /** Number of ids, special tokens included: ids run from 0 to `vocabSize - 1`. */
  readonly vocabSize: number;
  /** The special tokens and their ids. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /**
   * The ids of `text`.
   *
   * @throws {SpecialTokenError} if `text` holds the text of a special token that is not allowed
   */
  encode(text: string, options?: EncodeOptions): Uint32Array;
  /** The ids of `text`, the text of special tokens taken as ordinary text. */
  encodeOrdinary(text: string): Uint32Array;
  /** {@linkcode Tokenizer.encode} of every text. */
  encodeBatch(texts: Iterable<string>, options?: EncodeOptions): Uint32Array[];
  /**
   * The text of `ids`. Bytes that are not UTF-8 become U+FFFD, as `TextDecoder` makes them.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decode(ids: ArrayLike<number>): string;
  /**
   * The UTF-8 bytes of `ids`, which may begin or end inside a character.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decodeBytes(ids: ArrayLike<number>): Uint8Array;
}

/** Thrown when a file is not a tokenizer's; the message names the file and the field. */
export class TokenizerFormatError extends Error {
  /** Always `"TokenizerFormatError"`. */
  override readonly name = "TokenizerFormatError";
}

/** Thrown when a text holds the text of a special token that was not allowed. */
export class SpecialTokenError extends Error {
  /** Always `"SpecialTokenError"`. */
  override readonly name = "SpecialTokenError";

  /**
   * Tells which token stands where and what to do about it.
   *
   * @param token the special token's text
   * @param id the special token's id
   * @param index where it stands in the text, in UTF-16 code units
   */
  constructor(readonly token: string, readonly id: number, readonly index: number) {
    const quoted = JSON.stringify(token);
    super(
      `text has the special token ${quoted} at index ${index}: ` +
        `pass allowedSpecial: [${quoted}] to encode it as id ${id}, ` +
        `or disallowedSpecial: [] to encode it as ordinary text`,
    );
  }
}
