/**
 * The models that a folder can hold.
 *
 * @module
 */
import type { GPT2 } from "../models/gpt2.ts";
import type { GPT3 } from "../models/gpt3.ts";
import type { LLaMA } from "../models/llama.ts";
import type { ModernGPT } from "../models/modern_gpt.ts";
import type { Transformer } from "../models/transformer.ts";
import type { Architecture, Configured, Sizes } from "./architecture.ts";
import { gpt2Files, gpt3Files } from "./gpt2_files.ts";
import { llamaFiles } from "./llama_files.ts";
import { modernGptFiles } from "./modern_gpt_files.ts";
import { transformerFiles } from "./transformer_files.ts";

/** The models that a folder can hold, by the `model_type` of `config.json`. */
export interface ModelKinds {
  /** GPT-2. */
  gpt2: GPT2;
  /** GPT-3, which `transformers` does not have. */
  gpt3: GPT3;
  /** LLaMA 1, 2 and 3, which differ in their configuration. */
  llama: LLaMA;
  /** ModernGPT, ours. */
  modern_gpt: ModernGPT;
  /** The encoder-decoder Transformer, ours. */
  transformer: Transformer;
}

/** A `model_type`. */
export type ModelKind = keyof ModelKinds;

/** The kinds that continue a text. */
export type LanguageModelKind = Exclude<ModelKind, "transformer">;

/** An architecture of whatever model. */
export type AnyArchitecture = Architecture<Sizes, Configured<Sizes>>;

function erased<C, M extends Configured<C>>(architecture: Architecture<C, M>): AnyArchitecture {
  return architecture as unknown as AnyArchitecture;
}

/** How each is stored. */
export const ARCHITECTURES: Readonly<Record<ModelKind, AnyArchitecture>> = {
  gpt2: erased(gpt2Files),
  gpt3: erased(gpt3Files),
  llama: erased(llamaFiles),
  modern_gpt: erased(modernGptFiles),
  transformer: erased(transformerFiles),
};
