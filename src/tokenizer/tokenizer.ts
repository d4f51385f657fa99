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

/**
 * A tokenizer as a `tokenizer.json` describes one. `encode` gives the ids of the text alone: what a model wants
 * before and after it is in `prefix` and `suffix`, and chat templates are left to the caller.
 */
export interface PretrainedTokenizer extends Tokenizer {
  /** Ids that the file puts before a text, such as LLaMA's `<s>`. */
  readonly prefix: readonly number[];
  /** Ids that the file puts after a text. */
  readonly suffix: readonly number[];
  /** Writes a `tokenizer.json`, which appears whole or not at all. Needs `--allow-write` (and `--allow-read`). */
  save(path: string | URL): Promise<void>;
  /** The tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  toJSON(): unknown;
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

/**
 * Decodes ids as a model makes them. A token may end inside a UTF-8 character: its first bytes are
 * held until the rest is there, so a character is never cut.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { GPT2Tokenizer, StreamDecoder } from "@dinograd/dinograd";
 *
 * const tokenizer = new GPT2Tokenizer();
 * const stream = new StreamDecoder(tokenizer);
 * const parts = [...tokenizer.encode("a 🦕")].map((id) => stream.push(id));
 * assert.deepEqual(parts, ["a", " ", "", "🦕"]);
 * assert.equal(stream.flush(), "");
 * ```
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /**
   * Begins a text.
   *
   * @param tokenizer whose ids are decoded
   */
  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /**
   * The text that `id` completes: empty while a character is unfinished. Bytes that cannot be UTF-8
   * become U+FFFD.
   *
   * @throws {RangeError} if there is no such id; what was held is still held
   */
  push(id: number): string {
    return this.#decoder.decode(this.#tokenizer.decodeBytes([id]), { stream: true });
  }

  /** What is left at the end: U+FFFD if a character is unfinished, else nothing. Starts anew. */
  flush(): string {
    return this.#decoder.decode();
  }
}
