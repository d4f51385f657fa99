/**
 * The kinds of models that a folder can hold.
 *
 * @module
 */
import type { GPT2 } from "../models/gpt2.ts";
import type { GPT3 } from "../models/gpt3.ts";
import type { Gemma3 } from "../models/gemma3.ts";
import type { LLaMA } from "../models/llama.ts";
import type { Mistral } from "../models/mistral.ts";
import type { ModernGPT } from "../models/modern_gpt.ts";
import type { Phi3 } from "../models/phi3.ts";
import type { Qwen2, Qwen3 } from "../models/qwen.ts";
import type { SmolLM3 } from "../models/smollm3.ts";
import type { Transformer } from "../models/transformer.ts";
import type { Architecture, Configured, Sizes } from "./architecture.ts";
import { gpt2Files, gpt3Files } from "./gpt2_files.ts";
import {
  gemma3Files,
  gemma3TextFiles,
  llamaFiles,
  mistralFiles,
  phi3Files,
  qwen2Files,
  qwen3Files,
  smolLM3Files,
} from "./decoder_files.ts";
import { modernGptFiles } from "./modern_gpt_files.ts";
import { transformerFiles } from "./transformer_files.ts";

/** The models that a folder can hold, by the `model_type` of `config.json`. */
export interface ModelKinds {
  /** GPT-2. */
  gpt2: GPT2;
  /** GPT-3, which `transformers` does not have. */
  gpt3: GPT3;
  /** LLaMA 1, 2 and 3, which differ in their configuration, and SmolLM 2. */
  llama: LLaMA;
  /** Mistral. */
  mistral: Mistral;
  /** Qwen 2 and 2.5. */
  qwen2: Qwen2;
  /** Qwen 3. */
  qwen3: Qwen3;
  /** Gemma 3. */
  gemma3_text: Gemma3;
  /** Gemma 3 with pictures, of which only the text model is read. */
  gemma3: Gemma3;
  /** Phi 3 and 4. */
  phi3: Phi3;
  /** SmolLM 3. */
  smollm3: SmolLM3;
  /** ModernGPT, this library's own. */
  modern_gpt: ModernGPT;
  /** The encoder-decoder Transformer, in this library's own layout. */
  transformer: Transformer;
}

/** A `model_type`. */
export type ModelKind = keyof ModelKinds;

/** The kinds that continue a text. */
export type LanguageModelKind = Exclude<ModelKind, "transformer">;

/** An architecture of any model. */
export type AnyArchitecture = Architecture<Sizes, Configured<Sizes>>;

function erased<C, M extends Configured<C>>(architecture: Architecture<C, M>): AnyArchitecture {
  return architecture as unknown as AnyArchitecture;
}

/** How each kind is stored. */
export const ARCHITECTURES: Readonly<Record<ModelKind, AnyArchitecture>> = {
  gpt2: erased(gpt2Files),
  gpt3: erased(gpt3Files),
  llama: erased(llamaFiles),
  mistral: erased(mistralFiles),
  qwen2: erased(qwen2Files),
  qwen3: erased(qwen3Files),
  gemma3_text: erased(gemma3TextFiles),
  gemma3: erased(gemma3Files),
  phi3: erased(phi3Files),
  smollm3: erased(smolLM3Files),
  modern_gpt: erased(modernGptFiles),
  transformer: erased(transformerFiles),
};

/** The kinds that continue a text. */
export const LANGUAGE_MODELS = Object.keys(ARCHITECTURES)
  .filter((kind) => kind !== "transformer") as readonly LanguageModelKind[];
