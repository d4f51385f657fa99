/**
 * Words and their ids: the vocabulary of a translator, whose sentences are split at spaces.
 *
 * @module
 */
import { writeFileAtomically } from "../io/atomic_file.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { parseJson, shown } from "../io/json_text.ts";

/** The texts of the four special tokens, whose ids are 0 to 3 in this order. */
export interface TextSpecialTokens {
  /** Pads a sentence to the length of its row; id 0. Default: `<PAD>`. */
  readonly pad: string;
  /** Stands for every word that is not in the vocabulary; id 1. Default: `<UNK>`. */
  readonly unknown: string;
  /** The first input of a decoder; id 2. Default: `<SOS>`. */
  readonly start: string;
  /** Ends every sentence; id 3. Default: `<EOS>`. */
  readonly end: string;
}

/** Options of {@linkcode TextVocabulary.fromSentences}. */
export interface TextVocabularyOptions {
  /** The minimum number of occurrences for a word to be in the vocabulary. Default: 1. */
  readonly minFrequency?: number;
  /** Overrides the texts of special tokens. */
  readonly specialTokens?: Partial<TextSpecialTokens>;
}

/** The result of {@linkcode TextVocabulary.summary}. */
export interface TextVocabularySummary {
  /** The number of ids, including the four special tokens. */
  readonly size: number;
  /** The number of words in the text it was made from, counting repetitions. */
  readonly words: number;
  /** The number of different words in that text. */
  readonly distinctWords: number;
  /** The most frequent words, and how often they occur. */
  readonly mostCommon: readonly (readonly [word: string, count: number])[];
  /** The share of `words` that is not in the vocabulary, from 0 to 1. */
  readonly unknownShare: number;
}

/**
 * A text vocabulary as JSON. Version 1:
 *
 * ```json
 * {
 *   "format": "dinograd-text-vocabulary",
 *   "version": 1,
 *   "specialTokens": ["<PAD>", "<UNK>", "<SOS>", "<EOS>"],
 *   "words": [[".", 2], ["tom", 2]],
 *   "unknown": { "distinct": 0, "count": 0 }
 * }
 * ```
 *
 * The special tokens are ids 0 to 3; the n-th word, with its number of occurrences in the text, is id `4 + n`.
 */
export interface TextVocabularyJSON {
  /** Distinguishes this kind of file from others. */
  readonly format: "dinograd-text-vocabulary";
  /** The version of the format. */
  readonly version: 1;
  /** Padding, unknown, start and end: the ids 0 to 3. */
  readonly specialTokens: readonly [string, string, string, string];
  /** The words in the order of their ids, each with its number of occurrences in the text. */
  readonly words: readonly (readonly [word: string, count: number])[];
  /** The words of the text without an id: how many different ones, and how often they occurred. */
  readonly unknown: { readonly distinct: number; readonly count: number };
}

const SPECIAL_TOKENS: TextSpecialTokens = {
  pad: "<PAD>",
  unknown: "<UNK>",
  start: "<SOS>",
  end: "<EOS>",
};

/**
 * Converts sentences, whose words are separated by white space, into ids and back. The ids 0 to 3 are `<PAD>`, `<UNK>`,
 * `<SOS>` and `<EOS>`; the words follow, most frequent first. A word that is spelled like a special token is an unknown
 * word, so that no text can end a sentence early.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { TextVocabulary } from "@dinograd/dinograd";
 *
 * const vocabulary = TextVocabulary.fromSentences(["tom runs .", "tom sleeps ."]);
 * assert.deepEqual([...vocabulary.encode("tom flies .", 6)], [5, 1, 4, 3, 0, 0]);
 * assert.equal(vocabulary.decode([2, 5, 1, 4, 3, 0]), "tom <UNK> .");
 * assert.deepEqual(vocabulary.summary(2).mostCommon, [[".", 2], ["tom", 2]]);
 * ```
 */
export class TextVocabulary {
  /** The text of every id. */
  readonly tokens: readonly string[];
  /** The texts of the special tokens. */
  readonly specialTokens: TextSpecialTokens;
  /** The id of padding. */
  readonly padId = 0;
  /** The id of unknown words. */
  readonly unknownId = 1;
  /** The id that begins the input of a decoder. */
  readonly startId = 2;
  /** The id that ends a sentence. */
  readonly endId = 3;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #json: TextVocabularyJSON;

  private constructor(json: TextVocabularyJSON) {
    this.#json = json;
    const [pad, unknown, start, end] = json.specialTokens;
    this.specialTokens = { pad, unknown, start, end };
    this.tokens = [...json.specialTokens, ...json.words.map(([word]) => word)];
    this.#ids = new Map(json.words.map(([word], i) => [word, json.specialTokens.length + i]));
  }

  /**
   * Builds the vocabulary of the words that are frequent enough in `sentences`, sorted by frequency, then by text.
   * Throws a `RangeError` if no word is left, or the minimum is below 1.
   */
  static fromSentences(
    sentences: Iterable<string>,
    options?: TextVocabularyOptions,
  ): TextVocabulary {
    const { minFrequency = 1 } = options ?? {};
    if (!(minFrequency >= 1)) {
      throw new RangeError(
        `TextVocabulary: expected a minFrequency of 1 or more but got ${minFrequency}`,
      );
    }
    const { pad, unknown, start, end } = { ...SPECIAL_TOKENS, ...options?.specialTokens };
    const special = [pad, unknown, start, end] as const;
    const counts = countWords(sentences);
    const words = [...counts]
      .filter(([word, count]) => count >= minFrequency && !special.includes(word))
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
    if (words.length === 0) {
      throw new RangeError(
        `TextVocabulary: expected words of frequency ${minFrequency} or more but got none of ${counts.size}`,
      );
    }
    const total = counts.values().reduce((sum, count) => sum + count, 0);
    const known = words.reduce((sum, [, count]) => sum + count, 0);
    return TextVocabulary.fromJSON({
      format: "dinograd-text-vocabulary",
      version: 1,
      specialTokens: special,
      words,
      unknown: { distinct: counts.size - words.length, count: total - known },
    });
  }

  /**
   * Builds a vocabulary from its JSON form; throws a {@linkcode FileFormatError} that begins with `file` if it is
   * invalid.
   */
  static fromJSON(value: unknown, file?: string): TextVocabulary {
    return new TextVocabulary(checkTextVocabularyJSON(value, file ?? "text vocabulary"));
  }

  /**
   * Reads a file written by {@linkcode TextVocabulary.save}; throws a {@linkcode FileFormatError} for anything else.
   */
  static async load(path: string | URL): Promise<TextVocabulary> {
    const file = toPath(path);
    const text = await Deno.readTextFile(file);
    let value: unknown;
    try {
      value = parseJson(text);
    } catch (cause) {
      throw new FileFormatError(`expected JSON: ${(cause as Error).message}`, { file, cause });
    }
    return TextVocabulary.fromJSON(value, file);
  }

  /** Writes the vocabulary as JSON; the file appears whole or not at all. */
  async save(path: string | URL): Promise<void> {
    const bytes = new TextEncoder().encode(JSON.stringify(this, null, 1) + "\n");
    await writeFileAtomically(toPath(path), (file) => file.write(bytes));
  }

  /** Returns the form that is stored in files. */
  toJSON(): TextVocabularyJSON {
    return this.#json;
  }

  /** The number of ids, which run from 0 to `size - 1`. */
  get size(): number {
    return this.tokens.length;
  }

  /** Whether the word has an id of its own. */
  has(word: string): boolean {
    return this.#ids.has(word);
  }

  /** Returns the id of a word; that of `<UNK>` if it is not in the vocabulary. */
  idOf(word: string): number {
    return this.#ids.get(word) ?? this.unknownId;
  }

  /**
   * Returns the ids of a sentence, followed by `<EOS>`. With a `length`, returns exactly as many: a longer sentence is
   * cut so that `<EOS>` still fits, a shorter one is padded with `<PAD>`. A sentence without words is `<EOS>` alone.
   * Throws a `RangeError` for a length below 1.
   */
  encode(sentence: string, length?: number): Int32Array {
    const ids = wordsOf(sentence).map((word) => this.idOf(word));
    if (length === undefined) return Int32Array.from([...ids, this.endId]);
    checkLength(length);
    const row = new Int32Array(length).fill(this.padId);
    row.set([...ids.slice(0, length - 1), this.endId]);
    return row;
  }

  /**
   * Calls {@linkcode TextVocabulary.encode} on every sentence, and returns the rows of `length` one after the other.
   */
  encodeBatch(sentences: readonly string[], length: number): Int32Array {
    checkLength(length);
    const ids = new Int32Array(sentences.length * length);
    sentences.forEach((sentence, row) => ids.set(this.encode(sentence, length), row * length));
    return ids;
  }

  /**
   * Returns the words of `ids` up to the first `<EOS>`, joined by spaces, without `<PAD>` and `<SOS>`. Throws a
   * `RangeError` for an id that is not an integer from 0 to `size - 1`.
   */
  decode(ids: ArrayLike<number>): string {
    const words: string[] = [];
    for (const id of Array.from(ids)) {
      const token = this.tokens[id];
      if (token === undefined) {
        throw new RangeError(
          `TextVocabulary: expected ids from 0 to ${this.size - 1} but got ${id}`,
        );
      }
      if (id === this.endId) break;
      if (id !== this.padId && id !== this.startId) words.push(token);
    }
    return words.join(" ");
  }

  /**
   * Calls {@linkcode TextVocabulary.decode} on every row of `length` ids. Throws a `RangeError` if they do not fill
   * whole rows.
   */
  decodeBatch(ids: Int32Array, length: number): string[] {
    checkLength(length);
    if (ids.length % length !== 0) {
      throw new RangeError(
        `TextVocabulary: expected ids that fill rows of ${length} but got ${ids.length}`,
      );
    }
    return Array.from(
      { length: ids.length / length },
      (_, row) => this.decode(ids.subarray(row * length, (row + 1) * length)),
    );
  }

  /** Returns the share of the words of `sentences` that are not in the vocabulary; 0 if there are no words. */
  unknownShare(sentences: Iterable<string>): number {
    let words = 0;
    let unknown = 0;
    for (const [word, count] of countWords(sentences)) {
      words += count;
      if (!this.has(word)) unknown += count;
    }
    return words ? unknown / words : 0;
  }

  /** Returns statistics of the text it was made from, with the `mostCommon` words (default: 10). */
  summary(mostCommon?: number): TextVocabularySummary {
    const { words, unknown } = this.#json;
    const total = words.reduce((sum, [, count]) => sum + count, unknown.count);
    return {
      size: this.size,
      words: total,
      distinctWords: words.length + unknown.distinct,
      mostCommon: words.slice(0, mostCommon ?? 10),
      unknownShare: unknown.count / total,
    };
  }
}

/** Returns the words of a sentence, split at white space as in {@linkcode TextVocabulary}. */
export function wordsOf(sentence: string): string[] {
  return sentence.split(/\s+/).filter((word) => word !== "");
}

function countWords(sentences: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const sentence of sentences) {
    for (const word of wordsOf(sentence)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

function checkLength(length: number): void {
  if (!(Number.isSafeInteger(length) && length >= 1)) {
    throw new RangeError(`TextVocabulary: expected a length of 1 or more but got ${length}`);
  }
}

/** Checks that `value` is a vocabulary's JSON form; throws a `FileFormatError` that names file and field. */
function checkTextVocabularyJSON(value: unknown, file: string): TextVocabularyJSON {
  const check = (holds: boolean, field: string, expected: string, found: unknown) => {
    if (holds) return;
    throw new FileFormatError(`${field}: expected ${expected} but got ${shown(found)}`, { file });
  };
  check(isObject(value), "the file", "a JSON object", value);
  const json = value as Record<keyof TextVocabularyJSON, unknown>;
  const { format, version, specialTokens, words, unknown } = json;
  check(format === "dinograd-text-vocabulary", "format", `"dinograd-text-vocabulary"`, format);
  check(version === 1, "version", "1", version);
  check(Array.isArray(specialTokens), "specialTokens", "a list of four words", specialTokens);
  const special = specialTokens as unknown[];
  check(special.length === 4, "specialTokens", "four words", special);
  check(Array.isArray(words), "words", "a list of words with their counts", words);

  const seen = new Set<string>();
  const checkWord = (word: unknown, field: string) => {
    const right = typeof word === "string" && /^\S+$/.test(word);
    check(right, field, "a word without white space", word);
    check(!seen.has(word as string), field, "no word twice", word);
    seen.add(word as string);
  };
  special.forEach((word, i) => checkWord(word, `specialTokens[${i}]`));
  (words as unknown[]).forEach((entry, i) => {
    const isPair = Array.isArray(entry) && entry.length === 2 && isCount(entry[1]) && entry[1] > 0;
    check(isPair, `words[${i}]`, "a word and its count", entry);
    checkWord((entry as unknown[])[0], `words[${i}]`);
  });
  check((words as unknown[]).length > 0, "words", "one word or more", words);
  const { distinct, count } = isObject(unknown) ? unknown : {};
  check(isCount(distinct) && isCount(count), "unknown", "two counts", unknown);
  return value as TextVocabularyJSON;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
