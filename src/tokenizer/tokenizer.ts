/**
 * The interface of tokenizers: text to ids and back. Using one needs no device and no model.
 *
 * @module
 */

/** Options of {@linkcode Tokenizer.encode}: how the text of special tokens is treated. The names are tiktoken's. */
export interface EncodeOptions {
  /**
   * Special tokens whose text becomes their id: `"all"`, or the ones listed. Unknown names are ignored, as in tiktoken.
   * Default: none.
   */
  allowedSpecial?: "all" | Iterable<string>;
  /**
   * Special tokens whose text is refused with a {@linkcode SpecialTokenError}: `"all"` (all that are not allowed), or
   * the ones listed. What is neither allowed nor refused is encoded as ordinary text, so `disallowedSpecial: []`
   * accepts any text. Default: `"all"`.
   */
  disallowedSpecial?: "all" | Iterable<string>;
}

/** Converts text into token ids and token ids into text. */
export interface Tokenizer {
  /** The number of ids, including special tokens: ids run from 0 to `vocabSize - 1`. */
  readonly vocabSize: number;
  /** The special tokens and their ids. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /**
   * Returns the ids of `text`.
   *
   * @throws {SpecialTokenError} if `text` holds the text of a special token that is not allowed
   */
  encode(text: string, options?: EncodeOptions): Uint32Array;
  /** Returns the ids of `text`, treating the text of special tokens as ordinary text. */
  encodeOrdinary(text: string): Uint32Array;
  /** Calls {@linkcode Tokenizer.encode} on every text. */
  encodeBatch(texts: Iterable<string>, options?: EncodeOptions): Uint32Array[];
  /**
   * Returns the text of `ids`. Bytes that are not UTF-8 become U+FFFD, as in `TextDecoder`.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decode(ids: ArrayLike<number>): string;
  /**
   * Returns the UTF-8 bytes of `ids`, which may begin or end inside a character.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decodeBytes(ids: ArrayLike<number>): Uint8Array;
}

/**
 * A tokenizer described by a `tokenizer.json`. `encode` returns the ids of the text alone: what a model expects before
 * and after it is in `prefix` and `suffix`, and chat templates are left to the caller.
 */
export interface PretrainedTokenizer extends Tokenizer {
  /** Ids that the file puts before a text, such as LLaMA's `<s>`. */
  readonly prefix: readonly number[];
  /** Ids that the file puts after a text. */
  readonly suffix: readonly number[];
  /** Writes a `tokenizer.json`, which appears whole or not at all. Needs `--allow-write` (and `--allow-read`). */
  save(path: string | URL): Promise<void>;
  /** Returns the tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  toJSON(): unknown;
}

/**
 * Returns the ids that end an answer: those of the tokens with which many models mark the end of a text or of a turn.
 * `loadStopIds` also returns those that a model's files give.
 */
export function endOfTextIds({ specialTokens }: Tokenizer): number[] {
  return END_TOKENS.flatMap((name) => specialTokens.get(name) ?? []);
}

const END_TOKENS = [
  ...["</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"],
  ...["<|im_end|>", "<|end|>", "<eos>", "<end_of_turn>"],
];

/** Returns the ids of `text` as a text of its own: after what its tokenizer puts before one, such as LLaMA's `<s>`. */
export function promptIds(
  tokenizer: Tokenizer & { readonly prefix?: readonly number[] },
  text: string,
): number[] {
  return [...tokenizer.prefix ?? [], ...tokenizer.encodeOrdinary(text)];
}

/**
 * Returns the text of ids that continue another text: with the space before the first word, which `decode` takes for the
 * one that some tokenizers put before a text.
 */
export function continuationText(
  tokenizer: Pick<Tokenizer, "decodeBytes">,
  ids: ArrayLike<number>,
): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(tokenizer.decodeBytes(ids));
}

/**
 * Whether a model of `vocabSize` ids has all ids of a tokenizer, except for special tokens at the end: Gemma 3's
 * tokenizer has one for pictures beyond the ids of the text models.
 */
export function fitsVocabulary(tokenizer: Tokenizer, vocabSize: number): boolean {
  const special = new Set(tokenizer.specialTokens.values());
  for (let id = vocabSize; id < tokenizer.vocabSize; id++) if (!special.has(id)) return false;
  return true;
}

/** Thrown when a file does not describe a tokenizer; the message names the file and the field. */
export class TokenizerFormatError extends Error {
  /** Always `"TokenizerFormatError"`. */
  override readonly name = "TokenizerFormatError";
}

/** Thrown when a text contains the text of a special token that is not allowed. */
export class SpecialTokenError extends Error {
  /** Always `"SpecialTokenError"`. */
  override readonly name = "SpecialTokenError";

  /**
   * Creates the error; the message names the token, its position and the remedy.
   *
   * @param token the text of the special token
   * @param id the id of the special token
   * @param index its position in the text, in UTF-16 code units
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
 * Decodes ids as a model generates them. A token may end inside a UTF-8 character: its first bytes are held back until
 * the rest arrives, so a character is never split.
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
   * @param tokenizer the tokenizer of the ids
   */
  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /**
   * Returns the text that `id` completes: empty while a character is unfinished. Bytes that cannot be UTF-8 become
   * U+FFFD.
   *
   * @throws {RangeError} if there is no such id; what was held is still held
   */
  push(id: number): string {
    return this.#decoder.decode(this.#tokenizer.decodeBytes([id]), { stream: true });
  }

  /**
   * Returns the remaining text at the end: U+FFFD if a character is unfinished, else nothing. Then begins a new text.
   */
  flush(): string {
    return this.#decoder.decode();
  }
}
