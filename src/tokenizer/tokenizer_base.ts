/**
 * What all byte pair tokenizers share: special and added tokens, and ids back to text.
 *
 * @module
 */
import { IdBuffer } from "./id_buffer.ts";
import { SpecialTokens } from "./special_tokens.ts";
import type { EncodeOptions, Tokenizer } from "./tokenizer.ts";
import type { TokenizerParts } from "./tokenizer_json_fields.ts";
import type { Vocabulary } from "./vocabulary.ts";

// A byte order mark is text here: without `ignoreBOM` a decoder would swallow it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A tokenizer as a `tokenizer.json` describes one. `encode` gives the ids of the text alone: what a model wants
 * before and after it is in `prefix` and `suffix`, and chat templates are left to the caller.
 */
export interface PretrainedTokenizer extends Tokenizer {
  /** Ids that the file puts before a text, such as LLaMA's `<s>`. */
  readonly prefix: readonly number[];
  /** Ids that the file puts after a text. */
  readonly suffix: readonly number[];
}

/**
 * All of a {@linkcode PretrainedTokenizer} but how a text without added tokens is cut up and merged.
 *
 * @internal
 */
export abstract class TokenizerBase implements PretrainedTokenizer {
  /** Number of ids, special tokens included. */
  readonly vocabSize: number;
  /** The special tokens and their ids. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Ids that belong before a text. */
  readonly prefix: readonly number[];
  /** Ids that belong after a text. */
  readonly suffix: readonly number[];
  readonly #vocabulary: Vocabulary;
  readonly #specials: SpecialTokens;
  readonly #added: SpecialTokens;

  /** Takes over what all kinds have; `vocabulary` holds the bytes of every id. */
  protected constructor(
    parts: Pick<TokenizerParts, "special" | "added" | "prefix" | "suffix">,
    vocabulary: Vocabulary,
  ) {
    this.vocabSize = vocabulary.size;
    this.specialTokens = parts.special;
    this.prefix = parts.prefix;
    this.suffix = parts.suffix;
    this.#vocabulary = vocabulary;
    this.#specials = new SpecialTokens(parts.special);
    this.#added = new SpecialTokens(parts.added);
  }

  /** Appends the ids of a text without added tokens; `first` tells whether nothing comes before it. */
  protected abstract encodePart(text: string, first: boolean, out: IdBuffer): void;

  /**
   * The ids of `text`.
   *
   * @throws {SpecialTokenError} if `text` holds the text of a special token that is not allowed
   */
  encode(text: string, options?: EncodeOptions): Uint32Array<ArrayBuffer> {
    const out = new IdBuffer((text.length >> 1) + 16);
    let first = true;
    this.#specials.split(text, options ?? {}, (part) => {
      this.#encodeOrdinary(part, first, out);
      first = false;
    }, (id) => {
      out.push(id);
      first = false;
    });
    return out.toArray();
  }

  /** The ids of `text`, the text of special tokens taken as ordinary text. */
  encodeOrdinary(text: string): Uint32Array<ArrayBuffer> {
    const out = new IdBuffer((text.length >> 1) + 16);
    this.#encodeOrdinary(text, true, out);
    return out.toArray();
  }

  /** {@linkcode TokenizerBase.encode} of every text. */
  encodeBatch(texts: Iterable<string>, options?: EncodeOptions): Uint32Array<ArrayBuffer>[] {
    return Array.from(texts, (text) => this.encode(text, options));
  }

  /**
   * The text of `ids`. Bytes that are not UTF-8 become U+FFFD, as `TextDecoder` makes them.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decode(ids: ArrayLike<number>): string {
    return decoder.decode(this.decodeBytes(ids));
  }

  /**
   * The UTF-8 bytes of `ids`, which may begin or end inside a character.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decodeBytes(ids: ArrayLike<number>): Uint8Array<ArrayBuffer> {
    return this.#vocabulary.join(ids);
  }

  #encodeOrdinary(text: string, first: boolean, out: IdBuffer): void {
    this.#added.split(text, { allowedSpecial: "all" }, (part) => {
      if (part !== "") this.encodePart(part, first, out);
      first = false;
    }, (id) => {
      out.push(id);
      first = false;
    });
  }
}
