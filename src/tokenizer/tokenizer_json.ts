/**
 * Loads tokenizers from `tokenizer.json` files.
 *
 * @module
 */
import { BytePairTokenizer } from "./byte_pair_tokenizer.ts";
import { SentencePieceTokenizer } from "./sentencepiece_tokenizer.ts";
import type { PretrainedTokenizer } from "./tokenizer.ts";
import { FieldChecks, readTokenizerFile } from "./tokenizer_json_fields.ts";

/**
 * Creates the tokenizer that a `tokenizer.json` of Hugging Face's library describes: byte pair encoding over bytes
 * (GPT-2, LLaMA 3, Qwen), or over characters with bytes for unknown ones (LLaMA 1 and 2, Gemma, as in SentencePiece).
 * Truncation and padding that the file asks for are left to the caller.
 *
 * @param source what the messages call it
 * @throws {TokenizerFormatError} if it is something else, contradicts itself, or does what this library does not; the
 * message names the field
 *
 * @example
 * ```ts
 * import { tokenizerFromJson } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const bytes = Array.from({ length: 256 }, (_, byte) => {
 *   return [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, byte];
 * });
 * const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
 * const tokenizer = tokenizerFromJson({
 *   normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace] },
 *   model: {
 *     type: "BPE",
 *     byte_fallback: true,
 *     vocab: { ...Object.fromEntries(bytes), "▁": 256, h: 257, i: 258, hi: 259, "▁hi": 260 },
 *     merges: ["h i", "▁ hi"],
 *   },
 * });
 * assert.deepEqual([...tokenizer.encode("hi é")], [260, 256, 0xc3, 0xa9]);
 * assert.equal(tokenizer.decode([260, 256, 0xc3, 0xa9]), "hi é");
 * ```
 */
export function tokenizerFromJson(
  value: unknown,
  source?: string,
): PretrainedTokenizer {
  const checks = new FieldChecks(source ?? "tokenizer");
  const json = checks.object(value, "file");
  const steps = checks.steps(json.pre_tokenizer, "pre_tokenizer", "pretokenizers");
  return steps.some(({ step }) => step.type === "ByteLevel")
    ? BytePairTokenizer.fromJSON(json, source)
    : SentencePieceTokenizer.read(json, checks);
}

/**
 * Reads a `tokenizer.json`. Needs `--allow-read`. Throws as {@linkcode tokenizerFromJson} does; messages name the file.
 */
export async function loadTokenizerJson(path: string | URL): Promise<PretrainedTokenizer> {
  return tokenizerFromJson(await readTokenizerFile(path), String(path));
}
