/**
 * The tokens of GPT-2 in the order of their ranks, from `npm:js-tiktoken`: one string of base64,
 * which is there after import without a download or a permission. No other file imports it.
 *
 * @module
 */
import ranks from "npm:js-tiktoken@1.0.21/ranks/gpt2";
import { Vocabulary } from "./vocabulary.ts";

/** GPT-2's tokens without the special one. */
const TOKENS = 50256;

const BLANK = 0x20;
const EQUALS = 0x3d;

/**
 * Decodes the ranks, which are written `! <first rank> <base64> <base64> ...`.
 *
 * @throws {Error} if the package holds something else
 */
export function parseGPT2Ranks(): Vocabulary {
  const header = "! 0 ";
  const source = new TextEncoder().encode(ranks.bpe_ranks);
  if (!ranks.bpe_ranks.startsWith(header)) {
    throw new Error(`npm:js-tiktoken/ranks/gpt2: expected the ranks to begin with "${header}"`);
  }
  const sextets = new Uint8Array(256);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (let i = 0; i < 64; i++) sextets[alphabet.charCodeAt(i)] = i;
  const bytes = new Uint8Array(source.length);
  const starts = new Uint32Array(TOKENS + 1);
  let length = 0;
  let id = 0;
  let bits = 0;
  let bitCount = 0;
  for (let i = header.length; i <= source.length; i++) {
    const character = i < source.length ? source[i] : BLANK;
    if (character === BLANK) {
      if (id < TOKENS) starts[id + 1] = length;
      id++;
      bitCount = 0;
    } else if (character !== EQUALS) {
      bits = bits << 6 | sextets[character];
      bitCount += 6;
      if (bitCount >= 8) {
        bitCount -= 8;
        bytes[length++] = bits >> bitCount & 0xff;
      }
    }
  }
  if (id !== TOKENS) {
    throw new Error(`npm:js-tiktoken/ranks/gpt2: found ${id} tokens, expected ${TOKENS}`);
  }
  return new Vocabulary(bytes.slice(0, length), starts);
}
