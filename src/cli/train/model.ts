/** The model that `train` trains, by its recipe. */
import { GPT2, type GPT2Config, ModernGPT, type ParameterOptions } from "../../../mod.ts";
import type { Options } from "./options.ts";

/** A model in training. */
export type TrainedModel = GPT2 | ModernGPT;

/** What reports call the models. */
export const MODEL_NAMES = { gpt2: "GPT-2", modern: "ModernGPT" } as const;

/** What determines a model: options, and the rows of its embedding. */
export type ModelOptions =
  & Pick<Options, "recipe" | "context" | "embed" | "layers" | "heads" | "dropout">
  & { readonly vocab: number };

/** The rows of an embedding for `ids` ids: a multiple of 128 for speed, such as 50,304 for GPT-2's 50,257. */
export function paddedVocabSize(ids: number): number {
  return Math.ceil(ids / 128) * 128;
}

/** A new model. */
export function createModel(options: ModelOptions, place: ParameterOptions): TrainedModel {
  const { dropout: _, ...sizes } = sizesOf(options);
  return options.recipe === "modern"
    ? new ModernGPT(sizes, place)
    : new GPT2(sizesOf(options), place);
}

/** Its sizes. */
export function sizesOf(options: ModelOptions): GPT2Config {
  const { vocab, context, embed, layers, heads, dropout } = options;
  return {
    ...{ vocabSize: vocab, maxPositionEmbeddings: context, hiddenSize: embed },
    ...{ numHiddenLayers: layers, numAttentionHeads: heads, dropout },
  };
}
