/** Finds a tokenizer, or trains one. */
import {
  BytePairTokenizer,
  type BytePairTrainOptions,
  GPT2Tokenizer,
  loadLlama2cTokenizer,
  loadTokenizer,
  openProgress,
  type PretrainedTokenizer,
} from "../../mod.ts";
import { baseModelOf, exists, modelsIn } from "./runs.ts";

/** Loads a tokenizer by a name as `TOKENIZER` lists them. Throws if there is none. */
export async function findTokenizer(name: string): Promise<PretrainedTokenizer> {
  if (name === "gpt2") return new GPT2Tokenizer();
  if (name.endsWith(".bin")) return await loadLlama2cTokenizer(name);
  const base = await baseModelOf(name);
  if (base !== undefined) return await findTokenizer(base);
  if (!await exists(`${name}/tokenizer.json`)) {
    const models = await modelsIn(name); // a run of finetune has one
    if (models.length === 1) return await findTokenizer(models[0]!);
  }
  return await loadTokenizer(name);
}

/** Trains a byte pair tokenizer on a text; `line` gets a log line for five merges, evenly spaced up to the last. */
export async function trainTokenizer(
  text: string,
  options: BytePairTrainOptions & { readonly merges: number },
  line: (text: string) => void,
): Promise<BytePairTokenizer> {
  const { merges } = options;
  using progress = await openProgress({ label: "tokenizer", total: merges, unit: "merges" });
  line(`byte pair merges of ${text.length.toLocaleString("en")} characters:`);
  const every = Math.ceil(merges / 5);
  return BytePairTokenizer.train(text, {
    ...options,
    onProgress: ({ merge, count, pair: [left, right], id, bytes }) => {
      const token = JSON.stringify(new TextDecoder().decode(bytes));
      progress.update(merge, token);
      if (merge % every > 0 && merge < merges) return;
      const times = count.toLocaleString("en");
      line(`  merge ${merge}/${merges}: ${times} times (${left}, ${right}) -> ${id} ${token}`);
    },
  });
}
