/**
 * The JSON form of a text vocabulary and its checks. Version 1:
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
 * The special tokens are ids 0 to 3, the n-th word (with how often it stood in the text) is id `4 + n`.
 *
 * @module
 */
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";

/** A text vocabulary as JSON. */
export interface TextVocabularyJSON {
  /** Tells this kind of file from others. */
  readonly format: "dinograd-text-vocabulary";
  /** The version of the form. */
  readonly version: 1;
  /** Padding, unknown, start and end, the ids 0 to 3. */
  readonly specialTokens: readonly [string, string, string, string];
  /** The words in the order of their ids, each with how often it stood in the text. */
  readonly words: readonly (readonly [word: string, count: number])[];
  /** The words of the text that got no id: how many different ones, and how often they stood there. */
  readonly unknown: { readonly distinct: number; readonly count: number };
}

/** Checks that `value` is a vocabulary's JSON form; throws a `FileFormatError` that names file and field. */
export function checkTextVocabularyJSON(value: unknown, file: string): TextVocabularyJSON {
  const check = (holds: boolean, field: string, expected: string, found: unknown) => {
    if (holds) return;
    throw new FileFormatError(`${field}: expected ${expected} but found ${shown(found)}`, { file });
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
