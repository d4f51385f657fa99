/** The models that `next_token_byte_pair.ts` compares. */
import { GPT2, GPT3, LLaMA, type ParameterOptions } from "../../mod.ts";

/** The names of the models, in order of publication. */
export const MODEL_NAMES = ["gpt2", "gpt3", "llama1", "llama2", "llama3"] as const;

/** One of them. */
export type ModelName = typeof MODEL_NAMES[number];

/** A model of any of these names. */
export type Model = GPT2 | GPT3 | LLaMA;

/** The display names. */
export const TITLES: Record<ModelName, string> = {
  gpt2: "GPT-2",
  gpt3: "GPT-3",
  llama1: "LLaMA-1",
  llama2: "LLaMA-2",
  llama3: "LLaMA-3",
};

/** The options that determine the size of a model. */
export interface ModelOptions {
  context: number;
  embed: number;
  layers: number;
  heads: number;
  kvHeads: number;
  localBlock: number;
  dropout: number;
}

/** Creates a model of the given sizes. */
export function createModel(
  name: ModelName,
  vocabSize: number,
  options: ModelOptions,
  parameters: ParameterOptions,
): Model {
  const { dropout, kvHeads: numKeyValueHeads } = options;
  const sizes = {
    vocabSize,
    maxPositionEmbeddings: options.context,
    hiddenSize: options.embed,
    numHiddenLayers: options.layers,
    numAttentionHeads: options.heads,
  };
  switch (name) {
    case "gpt2":
      return new GPT2({ ...sizes, dropout }, parameters);
    case "gpt3":
      return new GPT3({ ...sizes, dropout, localBlockSize: options.localBlock }, parameters);
    case "llama1":
      return new LLaMA(sizes, parameters);
    case "llama2":
      return new LLaMA({ ...sizes, numKeyValueHeads }, parameters);
    case "llama3":
      return new LLaMA({ ...sizes, numKeyValueHeads, ropeTheta: 500_000 }, parameters);
  }
}
