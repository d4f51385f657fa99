/**
 * What tokenizers share: special and added tokens, and ids back to text; and, for byte-level ones, words and their
 * merges.
 *
 * @module
 */
import { writeFileAtomically } from "../io/atomic_file.ts";
import { toPath } from "../io/byte_source.ts";
import { hashBytes, WordCache } from "./hash_tables.ts";
import { MergeEngine, type MergeRules } from "./merges.ts";
import { SpecialTokens } from "./special_tokens.ts";
import { type PatternName, splitterOf } from "./splitter.ts";
import type { EncodeOptions, PretrainedTokenizer } from "./tokenizer.ts";
import type { TokenizerParts } from "./tokenizer_json_fields.ts";
import { IdBuffer, type Vocabulary } from "./vocabulary.ts";

// A byte order mark counts as text here: without `ignoreBOM` a decoder would drop it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** The parts of every kind of tokenizer. */
export type SharedParts = Pick<
  TokenizerParts,
  "special" | "added" | "strip" | "prefix" | "suffix"
>;

/**
 * A {@linkcode PretrainedTokenizer} except for how a text without added tokens is split and merged.
 *
 * @internal
 */
export abstract class TokenizerBase implements PretrainedTokenizer {
  /** The number of ids, including special tokens. */
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

  /** Takes the parts that all kinds have; `vocabulary` holds the bytes of every id. */
  protected constructor(
    parts: SharedParts,
    vocabulary: Vocabulary,
  ) {
    this.vocabSize = vocabulary.size;
    this.specialTokens = parts.special;
    this.prefix = parts.prefix;
    this.suffix = parts.suffix;
    this.#vocabulary = vocabulary;
    this.#specials = new SpecialTokens(parts.special, parts.strip);
    this.#added = new SpecialTokens(parts.added, parts.strip);
  }

  /** Appends the ids of a text without added tokens; `first` says whether nothing comes before it. */
  protected abstract encodePart(text: string, first: boolean, out: IdBuffer): void;

  /** Returns the tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  abstract toJSON(): unknown;

  /** Writes a `tokenizer.json`, which appears whole or not at all. Needs `--allow-write` (and `--allow-read`). */
  async save(path: string | URL): Promise<void> {
    const text = JSON.stringify(this) + "\n";
    await writeFileAtomically(toPath(path), (file) => file.write(encoder.encode(text)));
  }

  /**
   * Returns the ids of `text`.
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

  /** Returns the ids of `text`, treating the text of special tokens as ordinary text. */
  encodeOrdinary(text: string): Uint32Array<ArrayBuffer> {
    const out = new IdBuffer((text.length >> 1) + 16);
    this.#encodeOrdinary(text, true, out);
    return out.toArray();
  }

  /** Calls {@linkcode TokenizerBase.encode} on every text. */
  encodeBatch(texts: Iterable<string>, options?: EncodeOptions): Uint32Array<ArrayBuffer>[] {
    return Array.from(texts, (text) => this.encode(text, options));
  }

  /**
   * Returns the text of `ids`. Bytes that are not UTF-8 become U+FFFD, as in `TextDecoder`.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  decode(ids: ArrayLike<number>): string {
    return decoder.decode(this.decodeBytes(ids));
  }

  /**
   * Returns the UTF-8 bytes of `ids`, which may begin or end inside a character.
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

/** The parts of a {@linkcode ByteLevelTokenizer}. */
export interface ByteLevelParts extends SharedParts {
  /** The pattern that splits text into words. */
  readonly pattern: PatternName;
  /** The bytes of every id. */
  readonly vocabulary: Vocabulary;
  /** The rules by which tokens merge. */
  readonly rules: MergeRules;
}

/**
 * Byte-level byte pair encoding: a pattern splits a text into words, and the UTF-8 bytes of each word are merged into
 * tokens. Every byte has an id, so any text can be encoded.
 *
 * A lone surrogate, which has no UTF-8 form, is encoded as U+FFFD, as in `TextEncoder` and tiktoken; every well-formed
 * text is restored exactly from its ids.
 */
export abstract class ByteLevelTokenizer extends TokenizerBase {
  /** The pattern that splits text into words. */
  readonly pattern: PatternName;
  readonly #rules: MergeRules;
  readonly #engine: MergeEngine;
  readonly #cache = new WordCache();

  /**
   * Puts a tokenizer together.
   *
   * @param parts pattern, tokens, merges and special tokens
   */
  protected constructor(parts: ByteLevelParts) {
    super(parts, parts.vocabulary);
    this.pattern = parts.pattern;
    this.#rules = parts.rules;
    this.#engine = new MergeEngine(parts.rules);
  }

  /**
   * Appends the ids of a text without added tokens.
   *
   * @internal
   */
  protected encodePart(text: string, _first: boolean, out: IdBuffer): void {
    text = text.toWellFormed();
    const bytes = encoder.encode(text);
    const split = splitterOf(this.pattern, text), cache = this.#cache, known = cache.words;
    for (let start = 0; start < bytes.length;) {
      const end = split(bytes, start, bytes.length);
      const hash = hashBytes(bytes, start, end);
      const record = cache.find(bytes, start, end, hash);
      if (record > 0) {
        const count = known[record + 2]!;
        out.reserve(count);
        for (let i = 0; i < count; i++) out.data[out.length++] = known[record + 3 + i]!;
      } else {
        const first = out.length;
        const count = this.#engine.encodeWord(bytes, start, end, out);
        for (let i = first; i < out.length; i++) out.data[i] = this.#rules.idOf(out.data[i]!);
        cache.add(bytes, start, end, hash, out.data, first, count);
      }
      start = end;
    }
  }
}
