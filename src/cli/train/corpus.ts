/** The tokens that `train` reads. */
import { findShards, type GPT2Tokenizer, loadMobyDick, type TokenArray } from "../../../mod.ts";
import { UsageError } from "../failures.ts";
import type { Options } from "./options.ts";

/** Training and validation tokens, as paths of shards or in memory, and a line that says what they are. */
export interface Corpus {
  train: string[] | TokenArray;
  validation: string[] | TokenArray;
  /** Tokens of a validation: what is asked for, of a text no more than it has. */
  valTokens: number;
  description: string;
}

/** The shards of a folder, or a text with its last tenth held out: a file's, or without `data` Moby Dick. */
export async function openCorpus(
  { data, context, valTokens }: Pick<Options, "data" | "context" | "valTokens">,
  tokenizer: GPT2Tokenizer,
): Promise<Corpus> {
  if (data !== undefined && !await isFile(data)) {
    const [train, validation] = await Promise.all([
      findShards(data, { split: "train" }),
      findShards(data, { split: "val" }),
    ]);
    const description = `found ${train.length} shards for training and ${validation.length} for ` +
      `validation in ${data}`;
    return { train, validation, valTokens, description };
  }
  if (data !== undefined && /\.(npy|bin|parquet|jsonl|gz|zst|gguf|safetensors)$/.test(data)) {
    throw new UsageError(
      `--data: expected a text or a folder of token shards but got ${data}; ` +
        "`prepare --out FOLDER FILES` makes shards",
    );
  }
  const text = data === undefined ? await loadMobyDick() : await Deno.readTextFile(data);
  const tokens = Uint16Array.from(tokenizer.encodeOrdinary(text));
  const held = Math.floor(tokens.length / 10);
  if (held <= context) {
    throw new UsageError(
      `--data: expected a text of more than ${10 * context} tokens, ten times the --context, ` +
        `but got ${tokens.length} in ${data}`,
    );
  }
  const [train, validation] = [tokens.subarray(0, -held), tokens.subarray(-held)];
  const count = (part: TokenArray) => part.length.toLocaleString("en");
  return {
    train,
    validation,
    valTokens: Math.min(valTokens, held - held % context),
    description: `${data ?? "no --data given: Moby Dick"}, 1 shard in memory, ` +
      `${count(train)} tokens to train on and the last ${count(validation)} to validate`,
  };
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
