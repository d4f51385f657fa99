/**
 * Byte-level byte pair encoding, trained here or loaded from a `tokenizer.json`.
 *
 * @module
 */
import { findMerges, type TieRule } from "./bpe_trainer.ts";
import { PairTable, WordCounts } from "./hash_tables.ts";
import { MAX_VOCAB_SIZE, RankedMergeRules } from "./merges.ts";
import { checkSpecialTokens, SpecialTokens } from "./special_tokens.ts";
import { PATTERN_NAMES, type PatternName, splitterOf } from "./splitter.ts";
import { TokenizerFormatError } from "./tokenizer.ts";
import { ByteLevelTokenizer } from "./tokenizer_base.ts";
import {
  byteLevelJson,
  type BytePairOptions,
  FieldChecks,
  readParts,
  readPattern,
  readTokenizerFile,
  type TokenizerParts,
} from "./tokenizer_json_fields.ts";
import {
  BYTE_CHARACTERS,
  bytesOfAlphabet,
  type IdBuffer,
  textOfBytes,
  Vocabulary,
} from "./vocabulary.ts";

/** Options of {@linkcode BytePairTokenizer.train}. */
export interface BytePairTrainOptions {
  /** The number of ids: 256 bytes, the merges, the special tokens. Give either this or `merges`. */
  vocabSize?: number | undefined;
  /** The number of merges. Give either this or `vocabSize`. */
  merges?: number;
  /**
   * Special tokens; their ids follow the merges, in this order. An occurrence of their text in the training text ends a
   * word and is not learned from. Default: none.
   */
  specialTokens?: readonly string[];
  /** The minimum number of occurrences of a pair for it to be merged. Default: 1. */
  minFrequency?: number;
  /**
   * Which of several equally frequent pairs is merged: the one with the lower left id, then the lower right id, as in
   * Hugging Face's trainer, or the one that comes first in the text, as in minbpe. Default: `"lowest"`.
   */
  ties?: TieRule;
  /** The pattern that splits text into words: GPT-4's, GPT-2's or another. Default: `"gpt4"`. */
  pattern?: PatternName;
  /** Called after every merge. */
  onProgress?: ((progress: BytePairProgress) => void) | undefined;
}

/** The argument of {@linkcode BytePairTrainOptions.onProgress}. */
export interface BytePairProgress {
  /** The number of merges found, including this one. */
  merge: number;
  /** The number of merges wanted. */
  merges: number;
  /** The id of the new token. */
  id: number;
  /** The two ids that are merged. */
  pair: [number, number];
  /** How often they occurred side by side. */
  count: number;
  /** The bytes of the new token. */
  bytes: Uint8Array;
}

const encoder = new TextEncoder();

/**
 * Byte-level byte pair encoding, trained on a text or loaded from a `tokenizer.json` such as GPT-2's or LLaMA 3's. In a
 * trained tokenizer, ids 0 to 255 are the bytes, followed by the merges and then the special tokens; in a file they may
 * be in any order, and several pairs may merge into one token.
 *
 * Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016);
 * over bytes as in Radford et al. (2019).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { BytePairTokenizer } from "@dinograd/dinograd";
 *
 * const tokenizer = BytePairTokenizer.train("low lower lowest slow", {
 *   merges: 3,
 *   specialTokens: ["<|endoftext|>"],
 * });
 * const ids = tokenizer.encode("slower 🦕");
 * assert.equal(tokenizer.decode(ids), "slower 🦕");
 * const copy = BytePairTokenizer.fromJSON(JSON.parse(JSON.stringify(tokenizer)));
 * assert.deepEqual(copy.encode("slower 🦕"), ids);
 * ```
 */
export class BytePairTokenizer extends ByteLevelTokenizer {
  readonly #parts: TokenizerParts;
  readonly #options: BytePairOptions;

  private constructor(
    parts: TokenizerParts,
    vocabulary: Vocabulary,
    byteIds: readonly number[],
    options: BytePairOptions,
  ) {
    const { pattern, ignoreMerges } = options;
    const { ids, merges } = parts;
    const whole = ignoreMerges ? ids : undefined;
    const rules = new RankedMergeRules(merges, vocabulary.size, byteIds, whole);
    super({ ...parts, pattern, vocabulary, rules });
    this.#parts = parts;
    this.#options = options;
  }

  /** The pairs of ids that merge, in order. In a trained tokenizer the n-th pair creates id `256 + n`. */
  get merges(): [number, number][] {
    const { pairs, results } = this.#parts.merges;
    return Array.from(results, (_, rank) => [pairs[2 * rank]!, pairs[2 * rank + 1]!]);
  }

  /**
   * Trains on a text, or on several between which no pair is counted. It is deterministic: each step merges the most
   * frequent pair of neighbours, with ties broken by `ties`. A text that runs out of pairs gives fewer merges than
   * requested. Tokens have at most 1,024 bytes.
   *
   * @throws {TypeError} if not exactly one of `vocabSize` and `merges` is given, or special tokens
   * are empty, duplicates or learned from the text too
   * @throws {RangeError} if a number is out of range
   */
  static train(
    text: string | Iterable<string>,
    options: BytePairTrainOptions,
  ): BytePairTokenizer {
    const { specialTokens = [], minFrequency = 1, pattern = "gpt4", ties = "lowest", onProgress } =
      options;
    checkSpecialTokens(specialTokens, "specialTokens");
    const wanted = wantedMerges(options, specialTokens.length);
    if (!(minFrequency >= 1)) {
      throw new RangeError(`train: expected minFrequency of 1 or more but got ${minFrequency}`);
    }
    if (!PATTERN_NAMES.includes(pattern)) {
      const names = PATTERN_NAMES.map((name) => JSON.stringify(name)).join(" or ");
      throw new TypeError(
        `train: expected pattern ${names} but got ${JSON.stringify(pattern)}`,
      );
    }
    if (ties !== "lowest" && ties !== "first") {
      throw new TypeError(
        `train: expected ties "lowest" or "first" but got ${JSON.stringify(ties)}`,
      );
    }
    const words = countWords(typeof text === "string" ? [text] : text, pattern, specialTokens);
    const merges: [number, number][] = [];
    const tokens = byteTokens();
    findMerges(words, { limit: wanted, minFrequency, ties }, ({ pair, count }) => {
      const id = tokens.length;
      merges.push(pair);
      tokens.push(concatenated(tokens[pair[0]]!, tokens[pair[1]]!));
      onProgress?.({ merge: merges.length, merges: wanted, id, pair, count, bytes: tokens[id]! });
    });
    const texts = tokens.map(textOfBytes);
    const ids = new Map(texts.map((text, id) => [text, id]));
    const taken = specialTokens.find((token) => ids.has(token));
    if (taken !== undefined) {
      throw new TypeError(
        `train: expected specialTokens to be no tokens of the text but got ${
          JSON.stringify(taken)
        }`,
      );
    }
    const special = new Map(specialTokens.map((token, i) => [token, tokens.length + i]));
    const parts: TokenizerParts = {
      tokens: [...texts, ...specialTokens],
      ids,
      merges: rankedMerges(merges),
      ...{ special, added: new Map(), strip: new Map(), prefix: [], suffix: [] },
    };
    const vocabulary = Vocabulary.from([...tokens, ...specialTokens.map((t) => encoder.encode(t))]);
    const own = { pattern, nfc: false, ignoreMerges: false };
    return new BytePairTokenizer(parts, vocabulary, [...Array(256).keys()], own);
  }

  /**
   * Creates the tokenizer that the content of a `tokenizer.json` describes.
   *
   * @param source what the messages call it
   * @throws {TokenizerFormatError} if it is something else; the message names the field
   */
  static fromJSON(value: unknown, source?: string): BytePairTokenizer {
    const checks = new FieldChecks(source ?? "tokenizer");
    const json = checks.object(value, "file");
    const steps = checks.steps(json.normalizer, "normalizer", "normalizers");
    for (const { step, path } of steps) {
      if (step.type !== "NFC") checks.fail(`${path}.type`, `"NFC"`, step.type);
    }
    const model = checks.object(json.model, "model");
    checks.only(model, "model", "byte_fallback", false);
    const pattern = readPattern(json, checks);
    const parts = readParts(json, checks);
    const { tokens, ids, special, added } = parts;
    const bytes = tokens.map((token) => {
      if (!ids.has(token)) return encoder.encode(token); // an added token stands for its text as it is
      return bytesOfAlphabet(token) ??
        (special.has(token) || added.has(token)
          ? encoder.encode(token)
          : checks.fail("model.vocab", "tokens in the alphabet of bytes", token));
    });
    const byteIds = BYTE_CHARACTERS.map((character, byte) => {
      const id = ids.get(character);
      if (id !== undefined) return id;
      throw new TokenizerFormatError(
        `${checks.source}: model.vocab: expected a token for the byte ${byte} but got none`,
      );
    });
    const options = { pattern, nfc: steps.length > 0, ignoreMerges: model.ignore_merges === true };
    return new BytePairTokenizer(parts, Vocabulary.from(bytes), byteIds, options);
  }

  /**
   * Reads a `tokenizer.json`, written by this library or another. Needs `--allow-read`.
   *
   * @throws {TokenizerFormatError} if the file holds something else; the message names file and field
   */
  static async load(path: string | URL): Promise<BytePairTokenizer> {
    return BytePairTokenizer.fromJSON(await readTokenizerFile(path), String(path));
  }

  /** Returns the tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  toJSON(): unknown {
    const { tokens, ids } = this.#parts;
    const merges = this.merges.map(([left, right]) => `${tokens[left]} ${tokens[right]}`);
    return byteLevelJson({ ...this.#parts, ...this.#options, vocab: ids, merges });
  }

  /** @internal */
  protected override encodePart(text: string, first: boolean, out: IdBuffer): void {
    super.encodePart(this.#options.nfc ? text.normalize("NFC") : text, first, out);
  }
}

function rankedMerges(merges: readonly [number, number][]): TokenizerParts["merges"] {
  const ranks = new PairTable();
  for (const [rank, [left, right]] of merges.entries()) ranks.set(left, right, rank);
  return {
    ranks,
    pairs: Int32Array.from(merges.flat()),
    results: Int32Array.from(merges, (_, rank) => 256 + rank),
  };
}

function wantedMerges({ vocabSize, merges }: BytePairTrainOptions, specials: number): number {
  if ((vocabSize === undefined) === (merges === undefined)) {
    throw new TypeError(
      "train: expected either vocabSize or merges but got " +
        (merges === undefined ? "neither" : "both"),
    );
  }
  const [name, value, min] = vocabSize === undefined
    ? ["merges", merges!, 0]
    : ["vocabSize", vocabSize, 256 + specials];
  const max = vocabSize === undefined ? MAX_VOCAB_SIZE - 256 - specials : MAX_VOCAB_SIZE;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(
      `train: expected an integer ${name} from ${min} to ${max} but got ${value}`,
    );
  }
  return value - min;
}

function countWords(
  texts: Iterable<string>,
  pattern: PatternName,
  specialTokens: readonly string[],
): WordCounts {
  const words = new WordCounts();
  const encoder = new TextEncoder();
  const specials = new SpecialTokens(new Map(specialTokens.map((token, i) => [token, i])));
  const count = (text: string): void => {
    text = text.toWellFormed();
    const bytes = encoder.encode(text), split = splitterOf(pattern, text);
    for (let start = 0; start < bytes.length;) {
      const end = split(bytes, start, bytes.length);
      words.add(bytes, start, end);
      start = end;
    }
  };
  for (const text of texts) specials.split(text, { allowedSpecial: "all" }, count, () => {});
  return words;
}

function byteTokens(): Uint8Array[] {
  return Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
}

function concatenated(left: Uint8Array, right: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(left.length + right.length);
  bytes.set(left);
  bytes.set(right, left.length);
  return bytes;
}
