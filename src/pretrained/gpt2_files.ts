/**
 * GPT-2, and GPT-3 after it, as `transformers` stores them: with transposed matrices, as its `Conv1D` has weights (in,
 * out).
 *
 * @module
 */
import { GPT2, type GPT2Config } from "../models/gpt2.ts";
import { GPT3, type GPT3Config } from "../models/gpt3.ts";
import type { Architecture } from "./architecture.ts";

/** The files of GPT-2. */
export const gpt2Files: Architecture<Required<GPT2Config>, GPT2> = {
  modelType: "gpt2",
  className: "GPT2LMHeadModel",
  model: GPT2,
  prefix: "transformer.",

  readConfig(fields) {
    fields.expect("activation_function", "gelu_new", "gelu_pytorch_tanh");
    fields.expect("scale_attn_weights", true);
    fields.expect("scale_attn_by_inverse_layer_idx", false);
    fields.expect("add_cross_attention", false);
    fields.expect("tie_word_embeddings", true);
    const hiddenSize = fields.size("n_embd");
    return {
      vocabSize: fields.size("vocab_size"),
      maxPositionEmbeddings: fields.size("n_positions"),
      hiddenSize,
      numHiddenLayers: fields.size("n_layer"),
      numAttentionHeads: fields.size("n_head"),
      intermediateSize: fields.size("n_inner", 4 * hiddenSize),
      layerNormEpsilon: fields.positive("layer_norm_epsilon", 1e-5),
      dropout: fields.probability("resid_pdrop", 0.1),
      attentionDropout: fields.probability("attn_pdrop", 0.1),
    };
  },

  configFields(config) {
    const { hiddenSize, intermediateSize, dropout, attentionDropout } = config;
    return {
      vocab_size: config.vocabSize,
      n_positions: config.maxPositionEmbeddings,
      n_ctx: config.maxPositionEmbeddings,
      n_embd: hiddenSize,
      n_layer: config.numHiddenLayers,
      n_head: config.numAttentionHeads,
      n_inner: intermediateSize === 4 * hiddenSize ? null : intermediateSize,
      activation_function: "gelu_new",
      layer_norm_epsilon: config.layerNormEpsilon,
      initializer_range: 0.02,
      resid_pdrop: dropout,
      embd_pdrop: dropout,
      attn_pdrop: attentionDropout,
      scale_attn_weights: true,
      tie_word_embeddings: true,
      bos_token_id: null, // the class defaults to GPT-2's own ids
      eos_token_id: null,
    };
  },

  arrangement(name) {
    return /\.c_(attn|proj|fc)\.weight$/.test(name) ? "transposed" : undefined;
  },

  isIgnored(name) {
    // The causal masks that old files contain, and the embedding under its second name.
    return /^h\.\d+\.attn\.(bias|masked_bias)$/.test(name) || name === "lm_head.weight";
  },
};

/** The files of GPT-3: those of GPT-2, plus the block size of its sparse attention. */
export const gpt3Files: Architecture<Required<GPT3Config>, GPT3> = {
  ...gpt2Files,
  modelType: "gpt3",
  className: "GPT3LMHeadModel",
  model: GPT3,

  readConfig(fields) {
    return { ...gpt2Files.readConfig(fields), localBlockSize: fields.size("local_block_size") };
  },

  configFields(config) {
    return { ...gpt2Files.configFields(config), local_block_size: config.localBlockSize };
  },
};
