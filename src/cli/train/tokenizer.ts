/** The tokenizer of a run of `train`, which is saved in the run's folder. */
import {
  type Communicator,
  END_OF_TEXT,
  type PretrainedTokenizer,
  shareJson,
  tokenizerFromJson,
} from "../../../mod.ts";
import { UsageError } from "../failures.ts";
import { findTokenizer, trainTokenizer } from "../find_tokenizer.ts";
import { exists } from "../runs.ts";
import type { Options } from "./options.ts";

/** Where a tokenizer comes from. */
export interface TokenizerSetup {
  readonly options: Pick<Options, "tokenizer" | "vocabSize" | "data">;
  /** The text that is trained on; undefined for shards. */
  readonly text: string | undefined;
  /** The folder of the run that is resumed. Only rank 0 needs it. */
  readonly resumed: string | undefined;
  /** The ranks that train together. */
  readonly communicator: Communicator;
}

/** Loads or trains the tokenizer on rank 0 and sends it to the others; `line` gets log lines about the training. */
export async function openTokenizer(
  setup: TokenizerSetup,
  line: (text: string) => void,
): Promise<PretrainedTokenizer> {
  const { communicator } = setup;
  const own = communicator.rank === 0 ? await findOrTrain(setup, line) : undefined;
  const json: unknown = await shareJson(communicator, own);
  return own ?? tokenizerFromJson(json);
}

async function findOrTrain(
  { options: { tokenizer, vocabSize, data }, text, resumed }: TokenizerSetup,
  line: (text: string) => void,
): Promise<PretrainedTokenizer> {
  if (resumed !== undefined && await exists(`${resumed}/tokenizer.json`)) {
    return await findTokenizer(resumed);
  }
  if (vocabSize === undefined) {
    // Beside shards, where prepare puts it.
    const shards = text === undefined ? data : undefined;
    const isThere = shards !== undefined && await exists(`${shards}/tokenizer.json`);
    return await findTokenizer(tokenizer ?? (isThere ? shards : "gpt2"));
  }
  if (text === undefined) {
    throw new UsageError(
      "--vocab-size: expected a text in --data to train a tokenizer on but got token shards; " +
        "name the tokenizer that made them with --tokenizer",
    );
  }
  // Not on the last tenth, most of which is held out.
  const learned = text.slice(0, Math.ceil(0.9 * text.length));
  const merges = vocabSize - 257;
  return await trainTokenizer(learned, { merges, specialTokens: [END_OF_TEXT] }, line);
}
