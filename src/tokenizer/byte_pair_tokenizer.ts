/**
 * A tokenizer that is trained here.
 *
 * @module
 */
import { parseJson } from "../io/json_text.ts";
import { findMerges } from "./bpe_trainer.ts";
import { type BytePairJSON, checkBytePairJSON, TokenizerFormatError } from "./byte_pair_json.ts";
import { ByteLevelTokenizer } from "./byte_level_tokenizer.ts";
import { MAX_VOCAB_SIZE } from "./merge_engine.ts";
import { PairMergeRules } from "./merge_rules.ts";
import { checkSpecialTokens, SpecialTokens } from "./special_tokens.ts";
import { type PatternName, SPLITTERS } from "./splitter.ts";
import { Vocabulary } from "./vocabulary.ts";
import { WordCounts } from "./word_counts.ts";

/** How {@linkcode BytePairTokenizer.train} trains. */
export interface BytePairTrainOptions {
  /** Number of ids wanted: 256 bytes, the merges, the special tokens. Give this or `merges`. */
  vocabSize?: number;
  /** Number of merges wanted. Give this or `vocabSize`. */
  merges?: number;
  /**
   * Special tokens; their ids follow the merges, in this order. Where their text stands in the
   * training text it ends a word and is not learned from. Default: none.
   */
  specialTokens?: readonly string[];
  /** Pairs that stand side by side fewer times do not merge. Default: 1. */
  minFrequency?: number;
  /** How text is cut into words: GPT-4's pattern or GPT-2's. Default: `"gpt4"`. */
  pattern?: PatternName;
  /** Called after every merge. */
  onProgress?: (progress: BytePairProgress) => void;
}

/** What {@linkcode BytePairTrainOptions.onProgress} is told. */
export interface BytePairProgress {
  /** Merges found, this one included. */
  merge: number;
  /** Merges wanted. */
  merges: number;
  /** The id that the merge makes. */
  id: number;
  /** The two ids that merge. */
  pair: [number, number];
  /** How often they stood side by side. */
  count: number;
  /** The bytes of the new token. */
  bytes: Uint8Array;
}

/**
 * Byte-level byte pair encoding trained on a text, with GPT-4's way of cutting text into words.
 * Ids 0 to 255 are the bytes, then come the merges, then the special tokens.
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
  /** The pairs of ids that merge, in order; the n-th makes id `256 + n`. */
  readonly merges: ReadonlyArray<readonly [number, number]>;

  private constructor(
    pattern: PatternName,
    merges: ReadonlyArray<readonly [number, number]>,
    specialTokens: readonly string[],
    tokens: readonly Uint8Array[],
  ) {
    super({
      pattern,
      vocabulary: Vocabulary.from(tokens),
      rules: new PairMergeRules(merges),
      specialTokens,
    });
    this.merges = merges;
  }

  /**
   * Trains on a text, or on several between which no pair is counted. Always finds the same merges
   * in the same text: each time the pair that stands side by side most often; of equals the one
   * with the lower left id, then the lower right id. A text that runs out of pairs gives fewer
   * merges than asked for, and tokens stay within 1,024 bytes.
   *
   * @throws {TypeError} if not exactly one of `vocabSize` and `merges` is given, or special tokens
   * are empty or duplicates
   * @throws {RangeError} if a number is out of range
   */
  static train(
    text: string | Iterable<string>,
    options: BytePairTrainOptions,
  ): BytePairTokenizer {
    const { specialTokens = [], minFrequency = 1, pattern = "gpt4", onProgress } = options;
    checkSpecialTokens(specialTokens, "specialTokens");
    const wanted = wantedMerges(options, specialTokens.length);
    if (!(minFrequency >= 1)) {
      throw new RangeError(`train: expected minFrequency of 1 or more but got ${minFrequency}`);
    }
    if (!Object.hasOwn(SPLITTERS, pattern)) {
      throw new TypeError(
        `train: expected pattern "gpt2" or "gpt4" but got ${JSON.stringify(pattern)}`,
      );
    }
    const words = countWords(typeof text === "string" ? [text] : text, pattern, specialTokens);
    const merges: [number, number][] = [];
    const tokens = byteTokens();
    findMerges(words, wanted, minFrequency, ({ pair, count }) => {
      const id = tokens.length;
      merges.push(pair);
      tokens.push(concatenated(tokens[pair[0]], tokens[pair[1]]));
      onProgress?.({ merge: merges.length, merges: wanted, id, pair, count, bytes: tokens[id] });
    });
    return new BytePairTokenizer(pattern, merges, [...specialTokens], tokens);
  }

  /**
   * The tokenizer whose {@linkcode BytePairTokenizer.toJSON} form this is.
   *
   * @param source what the messages call it
   * @throws {TokenizerFormatError} if it is something else; the message names the field
   */
  static fromJSON(value: unknown, source: string = "tokenizer"): BytePairTokenizer {
    const { pattern, merges, specialTokens } = checkBytePairJSON(value, source);
    const tokens = byteTokens();
    for (const [left, right] of merges) tokens.push(concatenated(tokens[left], tokens[right]));
    const copy = merges.map(([left, right]) => [left, right] as const);
    return new BytePairTokenizer(pattern, copy, [...specialTokens], tokens);
  }

  /**
   * Reads a tokenizer that {@linkcode BytePairTokenizer.save} wrote. Needs `--allow-read`.
   *
   * @throws {TokenizerFormatError} if the file holds something else; the message names file and field
   */
  static async load(path: string | URL): Promise<BytePairTokenizer> {
    const text = await Deno.readTextFile(path);
    let value: unknown;
    try {
      value = parseJson(text);
    } catch (error) {
      throw new TokenizerFormatError(`${path}: not JSON: ${(error as Error).message}`);
    }
    return BytePairTokenizer.fromJSON(value, String(path));
  }

  /** Everything that makes this tokenizer, as `JSON.stringify` wants it. */
  toJSON(): BytePairJSON {
    return {
      format: "dinograd-byte-pair-tokenizer",
      version: 1,
      pattern: this.pattern,
      merges: this.merges,
      specialTokens: [...this.specialTokens.keys()],
    };
  }

  /** Writes the tokenizer as JSON. Needs `--allow-write`. */
  async save(path: string | URL): Promise<void> {
    await Deno.writeTextFile(path, JSON.stringify(this) + "\n");
  }
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
  const split = SPLITTERS[pattern];
  const specials = new SpecialTokens(new Map(specialTokens.map((token, i) => [token, i])));
  const count = (text: string): void => {
    const bytes = encoder.encode(text);
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
