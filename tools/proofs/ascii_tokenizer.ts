import type { EncodeOptions, Tokenizer } from "../../src/tokenizer/tokenizer.ts";

const END = "<|endoftext|>";

/** An id for each character of ASCII, control characters included, and one that ends a text. */
export const asciiTokenizer: Tokenizer = {
  vocabSize: 129,
  specialTokens: new Map([[END, 128]]),
  encode(text: string, options?: EncodeOptions) {
    if (!options?.allowedSpecial) return asciiTokenizer.encodeOrdinary(text);
    const parts = text.split(END).map((part) => [...asciiTokenizer.encodeOrdinary(part)]);
    return Uint32Array.from(parts.flatMap((part, i) => i ? [128, ...part] : part));
  },
  encodeOrdinary: (text) => Uint32Array.from(text, (letter) => Math.min(127, letter.charCodeAt(0))),
  encodeBatch: (texts) => Array.from(texts, (text) => asciiTokenizer.encode(text)),
  decode: (ids) => new TextDecoder().decode(asciiTokenizer.decodeBytes(ids)),
  decodeBytes: (ids) =>
    Uint8Array.from(
      Array.from(ids).flatMap((id) => id < 128 ? [id] : [...new TextEncoder().encode(END)]),
    ),
};
