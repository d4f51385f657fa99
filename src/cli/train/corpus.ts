/** The tokens that `train` reads. */
import { findShards, type GPT2Tokenizer, loadMobyDick, type TokenArray } from "../../../mod.ts";

/** Training and validation tokens, as paths of shards or in memory, and a line that says what they are. */
export interface Corpus {
  train: string[] | TokenArray;
  validation: string[] | TokenArray;
  description: string;
}

/** The shards of a folder, or without one Moby Dick, its last tenth held out. */
export async function openCorpus(
  folder: string | undefined,
  tokenizer: GPT2Tokenizer,
): Promise<Corpus> {
  if (folder !== undefined) {
    const [train, validation] = await Promise.all([
      findShards(folder, { split: "train" }),
      findShards(folder, { split: "val" }),
    ]);
    const description = `found ${train.length} shards for training and ${validation.length} for ` +
      `validation in ${folder}`;
    return { train, validation, description };
  }
  const tokens = Uint16Array.from(tokenizer.encodeOrdinary(await loadMobyDick()));
  const held = Math.floor(tokens.length / 10);
  const [train, validation] = [tokens.subarray(0, -held), tokens.subarray(-held)];
  const count = (part: TokenArray) => part.length.toLocaleString("en");
  return {
    train,
    validation,
    description:
      `no --data given: Moby Dick, 1 shard in memory, ${count(train)} tokens to train on ` +
      `and the last ${count(validation)} to validate`,
  };
}
