/**
 * LLaMA (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"; LLaMA 2, the same year; Llama
 * Team 2024, "The Llama 3 Herd of Models"): GPT-2's stack of pre-norm blocks with four changes: RMS norms instead of
 * layer norms, rotary positions in every attention instead of learned ones before the first block, a gated MLP (SwiGLU)
 * instead of a GELU, and no biases. The output matrix is separate. All of it is in `decoder.ts`.
 *
 * | | `numKeyValueHeads` | `ropeTheta` |
 * | --- | --- | --- |
 * | LLaMA 1 | as many as `numAttentionHeads` | 10,000 |
 * | LLaMA 2 | fewer: grouped queries | 10,000 |
 * | LLaMA 3 | fewer: grouped queries | 500,000, for longer contexts |
 *
 * SmolLM and SmolLM 2 have this architecture, too.
 *
 * @module
 */
import type { ParameterOptions } from "../nn/mod.ts";
import { Decoder, type DecoderConfig, type RopeLayoutConfig, withDefaults } from "./decoder.ts";

/** The configuration of a LLaMA, under the names of Hugging Face's `config.json`. */
export interface LLaMAConfig extends DecoderConfig, RopeLayoutConfig {}

/**
 * LLaMA of any size. Dropout applies to the attention weights only, as in Hugging Face's class.
 *
 * @example The three generations with equally many parameters
 * ```ts
 * import { CpuDevice, LLaMA } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, maxPositionEmbeddings: 16, hiddenSize: 24, numHiddenLayers: 2, numAttentionHeads: 6 };
 * const grouped = { ...sizes, numKeyValueHeads: 3 };
 * using first = new LLaMA(sizes, { device });
 * using second = new LLaMA(grouped, { device });
 * using third = new LLaMA({ ...grouped, ropeTheta: 500_000 }, { device });
 * assert.equal(first.parameterCount(), second.parameterCount());
 * assert.equal(first.parameterCount(), third.parameterCount());
 * ```
 */
export class LLaMA extends Decoder<Required<LLaMAConfig>> {
  /**
   * Creates a model with the initial values of {@linkcode Decoder}. Throws a `RangeError` if the heads do not divide
   * the hidden size into even sizes, or if the key and value heads do not divide the heads.
   */
  constructor(config: LLaMAConfig, options?: ParameterOptions) {
    const { ropeLayout: layout = "half-split" } = config;
    const filled = { ...withDefaults("LLaMA", config), ropeLayout: layout };
    const { ropeTheta: theta, ropeScaling: scaling } = filled;
    super(filled, options ?? {}, { rope: () => ({ theta, scaling, layout }) });
  }
}
