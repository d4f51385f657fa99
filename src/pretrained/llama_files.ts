/**
 * LLaMA as `transformers` stores it, with the rotary pairs of queries and keys half a head apart.
 *
 * @module
 */
import { LLaMA, type LLaMAConfig } from "../models/llama.ts";
import type { RotaryScaling } from "../ops/rotary.ts";
import type { Architecture } from "./architecture.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { JsonObject } from "./json_file.ts";

/** The files of LLaMA 1 to 3.2. */
export const llamaFiles: Architecture<Required<LLaMAConfig>, LLaMA> = {
  modelType: "llama",
  className: "LlamaForCausalLM",
  model: LLaMA,
  prefix: "",

  readConfig(fields) {
    fields.expect("hidden_act", "silu");
    fields.expect("attention_bias", false);
    fields.expect("mlp_bias", false);
    const hiddenSize = fields.size("hidden_size");
    const numAttentionHeads = fields.size("num_attention_heads");
    fields.expect("head_dim", hiddenSize / numAttentionHeads);
    return {
      vocabSize: fields.size("vocab_size"),
      maxPositionEmbeddings: fields.size("max_position_embeddings", 2048),
      hiddenSize,
      intermediateSize: fields.size("intermediate_size"),
      numHiddenLayers: fields.size("num_hidden_layers"),
      numAttentionHeads,
      numKeyValueHeads: fields.size("num_key_value_heads", numAttentionHeads),
      ...readRotary(fields),
      ropeLayout: "half-split",
      rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
      tieWordEmbeddings: fields.flag("tie_word_embeddings", false),
      attentionDropout: fields.probability("attention_dropout", 0),
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
      num_key_value_heads: config.numKeyValueHeads,
      head_dim: config.hiddenSize / config.numAttentionHeads,
      hidden_act: "silu",
      rms_norm_eps: config.rmsNormEps,
      rope_theta: config.ropeTheta,
      rope_scaling: scalingFields(config.ropeScaling),
      // The same for transformers 5, which has both in one.
      rope_parameters: {
        rope_type: "default",
        ...scalingFields(config.ropeScaling),
        rope_theta: config.ropeTheta,
      },
      attention_bias: false,
      mlp_bias: false,
      attention_dropout: config.attentionDropout,
      initializer_range: 0.02,
      tie_word_embeddings: config.tieWordEmbeddings,
      bos_token_id: null, // the class has LLaMA's own ids for defaults
      eos_token_id: null,
    };
  },

  arrangement(name, { ropeLayout, numAttentionHeads, numKeyValueHeads }) {
    if (ropeLayout === "half-split") return undefined;
    if (name.endsWith(".q_proj.weight")) return { halfSplitHeads: numAttentionHeads };
    if (name.endsWith(".k_proj.weight")) return { halfSplitHeads: numKeyValueHeads };
    return undefined;
  },

  isIgnored(name, { tieWordEmbeddings }) {
    return name.endsWith(".rotary_emb.inv_freq") ||
      (tieWordEmbeddings && name === "lm_head.weight");
  },
};

/** `rope_theta` and `rope_scaling`, or `rope_parameters`, in which newer files have both; the older goes before. */
function readRotary(
  fields: ConfigFields,
): Pick<Required<LLaMAConfig>, "ropeTheta" | "ropeScaling"> {
  const scaling = fields.object("rope_scaling") ?? fields.object("rope_parameters");
  const hasTheta = scaling?.get("rope_theta") !== undefined;
  return {
    ropeTheta: (hasTheta ? scaling! : fields).positive("rope_theta", 10_000),
    ropeScaling: readScaling(scaling, fields),
  };
}

function readScaling(fields: ConfigFields | undefined, whole: ConfigFields): RotaryScaling | null {
  if (!fields) return null;
  const type = fields.get("rope_type") ?? fields.get("type") ?? "default";
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type: "linear", factor: fields.positive("factor") };
    case "llama3":
      return {
        type: "llama3",
        factor: fields.positive("factor"),
        lowFrequencyFactor: fields.positive("low_freq_factor"),
        highFrequencyFactor: fields.positive("high_freq_factor"),
        originalContextSize: fields.size(
          "original_max_position_embeddings",
          whole.size("max_position_embeddings", 2048),
        ),
      };
    default:
      return fields.refuse("rope_type", `"default", "linear" or "llama3"`);
  }
}

function scalingFields(scaling: RotaryScaling | null): JsonObject | null {
  switch (scaling?.type) {
    case undefined:
      return null;
    case "linear":
      return { rope_type: "linear", factor: scaling.factor };
    case "llama3":
      return {
        rope_type: "llama3",
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalContextSize,
      };
  }
}
