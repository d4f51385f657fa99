/**
 * What GPT-2's tokenizer and the trained ones share: everything but their merges.
 *
 * @module
 */
import { hashBytes } from "./hash.ts";
import { IdBuffer } from "./id_buffer.ts";
import { MergeEngine } from "./merge_engine.ts";
import type { MergeRules } from "./merge_rules.ts";
import { SpecialTokens } from "./special_tokens.ts";
import { type PatternName, type Splitter, SPLITTERS } from "./splitter.ts";
import type { EncodeOptions, Tokenizer } from "./tokenizer.ts";
import type { Vocabulary } from "./vocabulary.ts";
import { WordCache } from "./word_cache.ts";

/** What a {@linkcode ByteLevelTokenizer} is made of. */
export interface ByteLevelParts {
  /** How text is cut into words. */
  pattern: PatternName;
  /** The tokens without the special ones. */
  vocabulary: Vocabulary;
  /** Which tokens merge. */
  rules: MergeRules;
  /** The special tokens in the order of their ids, which follow those of the vocabulary. */
  specialTokens: readonly string[];
}

const encoder = new TextEncoder();
// A byte order mark is text here: without `ignoreBOM` a decoder would swallow it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Byte-level byte pair encoding: a text is cut into words by a pattern, a word's UTF-8 bytes are
 * merged into tokens. It has an id for every byte, so any text can be encoded.
 *
 * A lone surrogate, which has no UTF-8 form, is encoded as U+FFFD, as `TextEncoder` and tiktoken do;
 * every well-formed text comes back from its ids as it was.
 */
export class ByteLevelTokenizer implements Tokenizer {
  /** Number of ids, special tokens included. */
  readonly vocabSize: number;
  /** The pattern that cuts text into words. */
  readonly pattern: PatternName;
  readonly #split: Splitter;
  readonly #engine: MergeEngine;
  readonly #specials: SpecialTokens;
  readonly #vocabulary: Vocabulary;
  readonly #cache = new WordCache();

  /**
   * Puts a tokenizer together.
   *
   * @param parts pattern, tokens, merges and special tokens
   */
  protected constructor(parts: ByteLevelParts) {
    const { vocabulary, specialTokens } = parts;
    this.pattern = parts.pattern;
    this.#split = SPLITTERS[parts.pattern];
    this.#engine = new MergeEngine(parts.rules);
    this.#specials = new SpecialTokens(
      new Map(specialTokens.map((token, i) => [token, vocabulary.size + i])),
    );
    this.#vocabulary = vocabulary.extended(specialTokens.map((token) => encoder.encode(token)));
    this.vocabSize = this.#vocabulary.size;
  }

  /** The special tokens and their ids. */
  get specialTokens(): ReadonlyMap<string, number> {
    return this.#specials.ids;
  }

  /**
   * The ids of `text`.
   *
   * @throws {SpecialTokenError} if `text` holds the text of a special token that is not allowed
   */
  encode(text: string, options: EncodeOptions = {}): Uint32Array<ArrayBuffer> {
    const ids = bufferFor(text);
    this.#specials.split(
      text,
      options,
      (part) => this.#encodeBytes(encoder.encode(part), ids),
      (id) => ids.push(id),
    );
    return ids.toArray();
  }

  /** The ids of `text`, the text of special tokens taken as ordinary text. */
  encodeOrdinary(text: string): Uint32Array<ArrayBuffer> {
    const ids = bufferFor(text);
    this.#encodeBytes(encoder.encode(text), ids);
    return ids.toArray();
  }

  /** {@linkcode ByteLevelTokenizer.encode} of every text. */
  encodeBatch(texts: Iterable<string>, options: EncodeOptions = {}): Uint32Array<ArrayBuffer>[] {
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

  #encodeBytes(bytes: Uint8Array, out: IdBuffer): void {
    const split = this.#split, cache = this.#cache, known = cache.words;
    for (let start = 0; start < bytes.length;) {
      const end = split(bytes, start, bytes.length);
      const hash = hashBytes(bytes, start, end);
      const record = cache.find(bytes, start, end, hash);
      if (record > 0) {
        const count = known[record + 2];
        out.reserve(count);
        for (let i = 0; i < count; i++) out.data[out.length++] = known[record + 3 + i];
      } else {
        const first = out.length;
        const count = this.#engine.encodeWord(bytes, start, end, out);
        cache.add(bytes, start, end, hash, out.data, first, count);
      }
      start = end;
    }
  }
}

/** Room for the ids of `text`: English takes four characters an id; it grows where that is short. */
function bufferFor(text: string): IdBuffer {
  return new IdBuffer((text.length >> 1) + 16);
}
