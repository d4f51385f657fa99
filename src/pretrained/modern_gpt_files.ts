/**
 * ModernGPT, in the layout of `transformers`, which has no such class.
 *
 * @module
 */
import { ModernGPT, type ModernGPTConfig } from "../models/modern_gpt.ts";
import type { Architecture } from "./architecture.ts";

/** The files of ModernGPT. */
export const modernGptFiles: Architecture<Required<ModernGPTConfig>, ModernGPT> = {
  modelType: "modern_gpt",
  className: "ModernGPTForCausalLM",
  model: ModernGPT,
  prefix: "",

  readConfig(fields) {
    // Null means that there is none; a missing field has its default.
    const orNull = (name: string, missing: number) =>
      fields.isNull(name) ? null : fields.positive(name, missing);
    const hiddenSize = fields.size("hidden_size");
    return {
      vocabSize: fields.size("vocab_size"),
      maxPositionEmbeddings: fields.size("max_position_embeddings"),
      hiddenSize,
      intermediateSize: fields.size("intermediate_size", 4 * hiddenSize),
      numHiddenLayers: fields.size("num_hidden_layers"),
      numAttentionHeads: fields.size("num_attention_heads"),
      ropeTheta: orNull("rope_theta", 10_000),
      qkNorm: fields.flag("qk_norm", true),
      hiddenAct: fields.oneOf("hidden_act", "relu2", "gelu_pytorch_tanh"),
      finalLogitSoftcapping: orNull("final_logit_softcapping", 15),
      tieWordEmbeddings: fields.flag("tie_word_embeddings", false),
      valueEmbeddings: fields.flag("value_embeddings", false),
      rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
    };
  },

  configFields(config) {
    return {
      vocab_size: config.vocabSize,
      max_position_embeddings: config.maxPositionEmbeddings,
      hidden_size: config.hiddenSize,
      intermediate_size: config.intermediateSize,
      num_hidden_layers: config.numHiddenLayers,
      num_attention_heads: config.numAttentionHeads,
      rope_theta: config.ropeTheta,
      qk_norm: config.qkNorm,
      hidden_act: config.hiddenAct,
      final_logit_softcapping: config.finalLogitSoftcapping,
      tie_word_embeddings: config.tieWordEmbeddings,
      value_embeddings: config.valueEmbeddings,
      rms_norm_eps: config.rmsNormEps,
      bos_token_id: null,
      eos_token_id: null,
    };
  },

  arrangement() {
    return undefined;
  },

  isIgnored(name, { tieWordEmbeddings }) {
    return tieWordEmbeddings && name === "lm_head.weight";
  },
};
