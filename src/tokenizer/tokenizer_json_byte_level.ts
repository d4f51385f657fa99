/**
 * Byte-level byte pair encoding out of a `tokenizer.json`, as GPT-2 and LLaMA 3 have it.
 *
 * @module
 */
import { TokenizerFormatError } from "./byte_pair_json.ts";
import { hashBytes } from "./hash.ts";
import type { IdBuffer } from "./id_buffer.ts";
import { MergeEngine } from "./merge_engine.ts";
import type { MergeRules } from "./merge_rules.ts";
import { GPT2_PATTERN, GPT4_PATTERN, type PatternName, SPLITTERS } from "./splitter.ts";
import { BYTE_CHARACTERS, bytesOfAlphabet } from "./tokenizer_json_alphabet.ts";
import { PretrainedTokenizerBase } from "./tokenizer_json_base.ts";
import {
  type FieldChecks,
  type Fields,
  type RankedMerges,
  readParts,
  type TokenizerParts,
} from "./tokenizer_json_fields.ts";
import { Vocabulary } from "./vocabulary.ts";
import { WordCache } from "./word_cache.ts";

const encoder = new TextEncoder();

/**
 * Byte-level byte pair encoding of another library's file. Like {@linkcode ByteLevelTokenizer}, but its ids may stand in
 * any order, and several pairs may merge into one token.
 */
export class PretrainedByteLevelTokenizer extends PretrainedTokenizerBase {
  /** The pattern that cuts text into words. */
  readonly pattern: PatternName;
  readonly #rules: RankedMergeRules;
  readonly #engine: MergeEngine;
  readonly #cache = new WordCache();

  private constructor(
    parts: TokenizerParts,
    vocabulary: Vocabulary,
    rules: RankedMergeRules,
    pattern: PatternName,
  ) {
    super(parts, vocabulary);
    this.pattern = pattern;
    this.#rules = rules;
    this.#engine = new MergeEngine(rules);
  }

  /** Reads it; what is wrong throws a `TokenizerFormatError`. */
  static read(json: Fields, checks: FieldChecks): PretrainedByteLevelTokenizer {
    if (json.normalizer !== null && json.normalizer !== undefined) {
      checks.fail("normalizer", "none", json.normalizer);
    }
    const model = checks.object(json.model, "model");
    checks.only(model, "model", "byte_fallback", false);
    const pattern = readPattern(json, checks);
    const parts = readParts(json, checks);
    const { tokens, ids, merges } = parts;
    const bytes = tokens.map((token) => {
      if (!ids.has(token)) return encoder.encode(token); // added, and so its text as it is
      return bytesOfAlphabet(token) ??
        (parts.special.has(token) || parts.added.has(token)
          ? encoder.encode(token)
          : checks.fail("model.vocab", "tokens in the alphabet of bytes", token));
    });
    const byteIds = BYTE_CHARACTERS.map((character, byte) => {
      const id = ids.get(character);
      if (id !== undefined) return id;
      throw new TokenizerFormatError(
        `${checks.source}: model.vocab: has no token for the byte ${byte}`,
      );
    });
    const whole = model.ignore_merges === true ? ids : undefined;
    const rules = new RankedMergeRules(merges, tokens.length, byteIds, whole);
    return new PretrainedByteLevelTokenizer(parts, Vocabulary.from(bytes), rules, pattern);
  }

  /** @inheritdoc */
  protected encodePart(text: string, _first: boolean, out: IdBuffer): void {
    const bytes = encoder.encode(text);
    const split = SPLITTERS[this.pattern], cache = this.#cache, known = cache.words;
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
        for (let i = first; i < out.length; i++) out.data[i] = this.#rules.idOf(out.data[i]);
        cache.add(bytes, start, end, hash, out.data, first, count);
      }
      start = end;
    }
  }
}

/**
 * Merges by rank for the engine, which takes what merges first for the lower number: token t is number t, and what the n-th
 * merge makes is number V + n, whatever its id.
 */
class RankedMergeRules implements MergeRules {
  readonly byteIds: readonly number[];
  readonly #merges: RankedMerges;
  readonly #vocabSize: number;
  readonly #whole: ReadonlyMap<string, number> | undefined;

  constructor(
    merges: RankedMerges,
    vocabSize: number,
    byteIds: readonly number[],
    whole: ReadonlyMap<string, number> | undefined,
  ) {
    this.byteIds = byteIds;
    this.#merges = merges;
    this.#vocabSize = vocabSize;
    this.#whole = whole;
  }

  /** The id that a number of the engine stands for. */
  idOf(number: number): number {
    return number < this.#vocabSize ? number : this.#merges.results[number - this.#vocabSize];
  }

  merge(left: number, right: number): number {
    const rank = this.#merges.ranks.get(this.idOf(left), this.idOf(right));
    return rank < 0 ? -1 : this.#vocabSize + rank;
  }

  whole(bytes: Uint8Array, start: number, end: number): number {
    if (!this.#whole) return -1;
    let word = "";
    for (let i = start; i < end; i++) word += BYTE_CHARACTERS[bytes[i]];
    return this.#whole.get(word) ?? -1;
  }
}

const PATTERNS: ReadonlyMap<unknown, PatternName> = new Map([
  [GPT2_PATTERN, "gpt2"],
  [GPT4_PATTERN, "gpt4"],
]);

/** How text is cut into words. */
function readPattern(json: Fields, checks: FieldChecks): PatternName {
  const steps = checks.steps(json.pre_tokenizer, "pre_tokenizer", "pretokenizers");
  const { step: last, path } = steps.at(-1)!; // the caller found a ByteLevel among them
  if (steps.length > 2 || last.type !== "ByteLevel") {
    checks.fail(
      "pre_tokenizer",
      "ByteLevel, or Split and then ByteLevel",
      steps.map(({ step }) => step.type),
    );
  }
  if (last.add_prefix_space !== false) {
    checks.fail(`${path}.add_prefix_space`, "false", last.add_prefix_space);
  }
  if (steps.length === 1) {
    checks.only(last, path, "use_regex", true);
    return "gpt2";
  }
  const [{ step: split, path: splitPath }] = steps;
  if (split.type !== "Split") checks.fail(`${splitPath}.type`, `"Split"`, split.type);
  if (last.use_regex !== false) checks.fail(`${path}.use_regex`, "false", last.use_regex);
  checks.only(split, splitPath, "behavior", "Isolated");
  checks.only(split, splitPath, "invert", false);
  const { Regex: regex } = checks.object(split.pattern, `${splitPath}.pattern`);
  const pattern = PATTERNS.get(regex);
  return pattern ?? checks.fail(`${splitPath}.pattern.Regex`, "GPT-2's or GPT-4's", regex);
}
