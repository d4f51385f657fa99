/** The tokens that end a text or an answer. */
import type { Tokenizer } from "../../mod.ts";

const NAMES = ["</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>"];

/** Their names and ids in a vocabulary. */
export function endings({ specialTokens }: Tokenizer): { name: string; id: number }[] {
  return NAMES.flatMap((name) => {
    const id = specialTokens.get(name);
    return id === undefined ? [] : [{ name, id }];
  });
}
