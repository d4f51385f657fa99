/**
 * The JSON form of a trained tokenizer and its checks. Version 1:
 *
 * ```json
 * {
 *   "format": "dinograd-byte-pair-tokenizer",
 *   "version": 1,
 *   "pattern": "gpt4",
 *   "merges": [[101, 32], [116, 104]],
 *   "specialTokens": ["<|endoftext|>"]
 * }
 * ```
 *
 * Bytes are ids 0 to 255, the n-th merge makes id `256 + n`, the special tokens come after.
 *
 * @module
 */
import { MAX_TOKEN_BYTES } from "./bpe_trainer.ts";
import { MAX_VOCAB_SIZE } from "./merge_engine.ts";
import { PairTable } from "./pair_table.ts";
import { checkSpecialTokens } from "./special_tokens.ts";
import type { PatternName } from "./splitter.ts";

/** A trained tokenizer as JSON. */
export interface BytePairJSON {
  /** Tells this kind of file from others. */
  format: "dinograd-byte-pair-tokenizer";
  /** The version of the form. */
  version: 1;
  /** How text is cut into words. */
  pattern: PatternName;
  /** The pairs of ids that merge, in order. */
  merges: ReadonlyArray<readonly [number, number]>;
  /** The special tokens in the order of their ids. */
  specialTokens: readonly string[];
}

/** Thrown when a file is not a tokenizer's; the message names the file and the field. */
export class TokenizerFormatError extends Error {
  /** Always `"TokenizerFormatError"`. */
  override readonly name = "TokenizerFormatError";
}

/** The tokens of all merges together may take this many bytes. */
const MAX_VOCABULARY_BYTES = 2 ** 26;

/**
 * Checks that `value` is a tokenizer's JSON form.
 *
 * @param source what the messages call it, a file's name for one
 * @throws {TokenizerFormatError} if it is not
 */
export function checkBytePairJSON(value: unknown, source: string): BytePairJSON {
  const fail = (field: string, expected: string, got: unknown): never => {
    throw new TokenizerFormatError(`${source}: ${field}: expected ${expected}, got ${show(got)}`);
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TokenizerFormatError(`${source}: expected a JSON object, got ${show(value)}`);
  }
  const { format, version, pattern, merges, specialTokens } = value as Record<string, unknown>;
  if (format !== "dinograd-byte-pair-tokenizer") {
    return fail("format", `"dinograd-byte-pair-tokenizer"`, format);
  }
  if (version !== 1) return fail("version", "1", version);
  if (pattern !== "gpt2" && pattern !== "gpt4") return fail("pattern", `"gpt2" or "gpt4"`, pattern);
  if (!Array.isArray(merges)) return fail("merges", "a list of pairs of ids", merges);
  if (!Array.isArray(specialTokens)) return fail("specialTokens", "a list of texts", specialTokens);
  if (256 + merges.length + specialTokens.length > MAX_VOCAB_SIZE) {
    return fail("merges", `a vocabulary of at most ${MAX_VOCAB_SIZE} ids`, merges.length);
  }

  const seen = new PairTable();
  const lengths: number[] = new Array(256).fill(1);
  let total = 256;
  for (let i = 0; i < merges.length; i++) {
    const pair: unknown = merges[i];
    const field = `merges[${i}]`;
    if (!Array.isArray(pair) || pair.length !== 2) return fail(field, "a pair of ids", pair);
    for (const id of pair) {
      if (!Number.isInteger(id) || id < 0 || id >= 256 + i) {
        return fail(field, `ids from 0 to ${255 + i}`, pair);
      }
    }
    const [left, right] = pair as [number, number];
    if (seen.get(left, right) >= 0) {
      return fail(field, `no pair twice (merges[${seen.get(left, right)}])`, pair);
    }
    seen.set(left, right, i);
    const length = lengths[left] + lengths[right];
    if (length > MAX_TOKEN_BYTES) {
      return fail(field, `a token of at most ${MAX_TOKEN_BYTES} bytes`, length);
    }
    lengths.push(length);
    total += length;
    if (total > MAX_VOCABULARY_BYTES) {
      return fail(field, `tokens of at most ${MAX_VOCABULARY_BYTES} bytes together`, total);
    }
  }
  try {
    checkSpecialTokens(specialTokens, "specialTokens");
  } catch (error) {
    throw new TokenizerFormatError(`${source}: ${(error as Error).message}`);
  }
  return { format, version, pattern, merges, specialTokens };
}

/** A value in a message, cut short. */
function show(value: unknown): string {
  if (Array.isArray(value) && value.length > 4) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return "an object";
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = `a ${typeof value}`;
  }
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
