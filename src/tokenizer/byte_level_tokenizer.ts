/**
 * What GPT-2's tokenizer and those of a `tokenizer.json` share: everything but their merges.
 *
 * @module
 */
import { writeFileAtomically } from "../io/atomic_file.ts";
import { toPath } from "../io/byte_source.ts";
import { hashBytes } from "./hash.ts";
import type { IdBuffer } from "./id_buffer.ts";
import { MergeEngine } from "./merge_engine.ts";
import type { MergeRules } from "./merge_rules.ts";
import { type PatternName, type Splitter, SPLITTERS } from "./splitter.ts";
import { TokenizerBase } from "./tokenizer_base.ts";
import type { TokenizerParts } from "./tokenizer_json_fields.ts";
import type { Vocabulary } from "./vocabulary.ts";
import { WordCache } from "./word_cache.ts";

/** What a {@linkcode ByteLevelTokenizer} is made of. */
export interface ByteLevelParts
  extends Pick<TokenizerParts, "special" | "added" | "prefix" | "suffix"> {
  /** How text is cut into words. */
  readonly pattern: PatternName;
  /** The bytes of every id. */
  readonly vocabulary: Vocabulary;
  /** Which tokens merge. */
  readonly rules: MergeRules;
}

const encoder = new TextEncoder();

/**
 * Byte-level byte pair encoding: a text is cut into words by a pattern, a word's UTF-8 bytes are
 * merged into tokens. It has an id for every byte, so any text can be encoded.
 *
 * A lone surrogate, which has no UTF-8 form, is encoded as U+FFFD, as `TextEncoder` and tiktoken do;
 * every well-formed text comes back from its ids as it was.
 */
export abstract class ByteLevelTokenizer extends TokenizerBase {
  /** The pattern that cuts text into words. */
  readonly pattern: PatternName;
  readonly #split: Splitter;
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
    this.#split = SPLITTERS[parts.pattern];
    this.#rules = parts.rules;
    this.#engine = new MergeEngine(parts.rules);
  }

  /** The tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  abstract toJSON(): unknown;

  /** Writes a `tokenizer.json`, which appears whole or not at all. Needs `--allow-write` (and `--allow-read`). */
  async save(path: string | URL): Promise<void> {
    const text = JSON.stringify(this) + "\n";
    await writeFileAtomically(toPath(path), (file) => file.write(encoder.encode(text)));
  }

  /**
   * Appends the ids of a text without added tokens.
   *
   * @internal
   */
  protected encodePart(text: string, _first: boolean, out: IdBuffer): void {
    const bytes = encoder.encode(text);
    const split = this.#split, cache = this.#cache, known = cache.words;
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
