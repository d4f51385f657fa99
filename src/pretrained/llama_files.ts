/**
 * LLaMA as `transformers` stores it: our names, with the rotary pairs of queries and keys half a head apart.
 *
 * @module
 */
import { LLaMA, type LLaMAConfig } from "../models/llama.ts";
import type { RotaryScaling } from "../ops/rotary_frequencies.ts";
import type { Architecture } from "./architecture.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { JsonObject } from "./json_file.ts";
import type { StoredTensor } from "./stored_tensor.ts";

/** All of a LLaMA's configuration that its files need. */
export type LLaMAFileConfig = Required<Omit<LLaMAConfig, "hiddenSize">>;

/** The files of LLaMA 1 to 3.2. */
export const llamaFiles: Architecture<LLaMAFileConfig, LLaMA> = {
  modelType: "llama",
  className: "LlamaForCausalLM",
  prefix: "",

  readConfig(fields) {
    fields.expect("hidden_act", "silu");
    fields.expect("attention_bias", false);
    fields.expect("mlp_bias", false);
    const embedSize = fields.size("hidden_size");
    const heads = fields.size("num_attention_heads");
    fields.expect("head_dim", embedSize / heads);
    return {
      vocabSize: fields.size("vocab_size"),
      contextSize: fields.size("max_position_embeddings", 2048),
      embedSize,
      layers: fields.size("num_hidden_layers"),
      heads,
      kvHeads: fields.size("num_key_value_heads", heads),
      intermediateSize: fields.size("intermediate_size"),
      ...readRotary(fields),
      ropeLayout: "half-split",
      normEps: fields.positive("rms_norm_eps", 1e-6),
      tied: fields.flag("tie_word_embeddings", false),
    };
  },

  configFields(config) {
    return {
      vocab_size: config.vocabSize,
      max_position_embeddings: config.contextSize,
      hidden_size: config.embedSize,
      intermediate_size: config.intermediateSize,
      num_hidden_layers: config.layers,
      num_attention_heads: config.heads,
      num_key_value_heads: config.kvHeads,
      head_dim: config.embedSize / config.heads,
      hidden_act: "silu",
      rms_norm_eps: config.normEps,
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
      attention_dropout: 0,
      initializer_range: 0.02,
      tie_word_embeddings: config.tied,
      bos_token_id: null, // the class has LLaMA's own ids for defaults
      eos_token_id: null,
    };
  },

  tensors(config) {
    const { vocabSize, embedSize, layers, heads, kvHeads, intermediateSize, tied } = config;
    const kvSize = kvHeads * embedSize / heads;
    const plain = (name: string, ...shape: number[]): StoredTensor => {
      return { name, shape, parameters: [name] };
    };
    const turned = (name: string, rows: number, heads: number): StoredTensor => {
      const stored = plain(name, rows, embedSize);
      if (config.ropeLayout === "half-split") return stored;
      return { ...stored, arranged: { halfSplitHeads: heads } };
    };
    const block = (name: string): StoredTensor[] => [
      plain(`${name}.input_layernorm.weight`, embedSize),
      turned(`${name}.self_attn.q_proj.weight`, embedSize, heads),
      turned(`${name}.self_attn.k_proj.weight`, kvSize, kvHeads),
      plain(`${name}.self_attn.v_proj.weight`, kvSize, embedSize),
      plain(`${name}.self_attn.o_proj.weight`, embedSize, embedSize),
      plain(`${name}.post_attention_layernorm.weight`, embedSize),
      plain(`${name}.mlp.gate_proj.weight`, intermediateSize, embedSize),
      plain(`${name}.mlp.up_proj.weight`, intermediateSize, embedSize),
      plain(`${name}.mlp.down_proj.weight`, embedSize, intermediateSize),
    ];
    return [
      plain("model.embed_tokens.weight", vocabSize, embedSize),
      ...Array.from({ length: layers }, (_, i) => block(`model.layers.${i}`)).flat(),
      plain("model.norm.weight", embedSize),
      ...tied ? [] : [plain("lm_head.weight", vocabSize, embedSize)],
    ];
  },

  isIgnored(name, { tied }) {
    return name.endsWith(".rotary_emb.inv_freq") || (tied && name === "lm_head.weight");
  },

  create: (config, options) => new LLaMA(config, options),
};

/** `rope_theta` and `rope_scaling`, or `rope_parameters`, in which newer files have both; the older goes before. */
function readRotary(fields: ConfigFields): Pick<LLaMAFileConfig, "ropeTheta" | "ropeScaling"> {
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
