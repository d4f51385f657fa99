/**
 * LLaMA and the families after it as `transformers` stores them, with half-split rotary pairs in queries and keys.
 *
 * @module
 */
import type {
  DecoderConfig,
  FilledConfig,
  LayerType,
  RopeLayoutConfig,
  SlidingConfig,
} from "../models/decoder.ts";
import { Gemma3, type Gemma3Config } from "../models/gemma3.ts";
import { LLaMA, type LLaMAConfig } from "../models/llama.ts";
import { Mistral, type MistralConfig } from "../models/mistral.ts";
import { Phi3, type Phi3Config } from "../models/phi3.ts";
import { Qwen2, Qwen3, type QwenConfig } from "../models/qwen.ts";
import { SmolLM3, type SmolLM3Config } from "../models/smollm3.ts";
import type { RotaryScaling } from "../ops/rotary.ts";
import type { Architecture } from "./architecture.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { JsonObject } from "./json_file.ts";

/** How the tensors of all families are stored. */
const common: Pick<
  Architecture<FilledConfig & RopeLayoutConfig, never>,
  "prefix" | "arrangement" | "isIgnored"
> = {
  prefix: "",

  arrangement(name, { ropeLayout = "half-split", numAttentionHeads, numKeyValueHeads }) {
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

/** The files of LLaMA 1 to 3.2, and of SmolLM 2. */
export const llamaFiles: Architecture<Required<LLaMAConfig>, LLaMA> = {
  modelType: "llama",
  className: "LlamaForCausalLM",
  model: LLaMA,
  ...common,

  readConfig(fields) {
    fields.expect("hidden_act", "silu");
    fields.expect("attention_bias", false);
    fields.expect("mlp_bias", false);
    return {
      ...readDecoder(fields, { rmsNormEps: 1e-6, maxPositionEmbeddings: 2048 }),
      ropeLayout: "half-split",
    };
  },

  configFields: (config) => ({
    ...decoderFields(config),
    ...{ hidden_act: "silu", attention_bias: false, mlp_bias: false },
  }),
};

/** The files of Mistral. */
export const mistralFiles: Architecture<Required<MistralConfig>, Mistral> = {
  modelType: "mistral",
  className: "MistralForCausalLM",
  model: Mistral,
  ...common,

  readConfig(fields) {
    fields.expect("hidden_act", "silu");
    return {
      ...readDecoder(fields, { rmsNormEps: 1e-6, maxPositionEmbeddings: 131_072 }),
      slidingWindow: fields.sizeOrNull("sliding_window", 4096),
      ropeLayout: "half-split",
    };
  },

  configFields: (config) => ({
    ...decoderFields(config),
    ...{ hidden_act: "silu", sliding_window: config.slidingWindow },
  }),
};

/** The files of Qwen 2 and 2.5. */
export const qwen2Files: Architecture<Required<QwenConfig>, Qwen2> = {
  modelType: "qwen2",
  className: "Qwen2ForCausalLM",
  model: Qwen2,
  ...common,
  readConfig: readQwen,
  configFields: qwenFields,
};

/** The files of Qwen 3. */
export const qwen3Files: Architecture<Required<QwenConfig>, Qwen3> = {
  modelType: "qwen3",
  className: "Qwen3ForCausalLM",
  model: Qwen3,
  ...common,

  readConfig(fields) {
    fields.expect("attention_bias", false);
    return readQwen(fields);
  },

  configFields: (config) => ({ ...qwenFields(config), attention_bias: false }),
};

function readQwen(fields: ConfigFields): Required<QwenConfig> {
  fields.expect("hidden_act", "silu");
  const config = readDecoder(fields, { rmsNormEps: 1e-6, maxPositionEmbeddings: 32_768 });
  const slidingWindow = readSwitchedWindow(fields);
  const first = fields.count("max_window_layers", 28);
  return {
    ...config,
    slidingWindow,
    layerTypes: readLayerTypes(fields, config, (layer) => slidingWindow !== null && layer >= first),
  };
}

function qwenFields(config: Required<QwenConfig>): JsonObject {
  const { slidingWindow, layerTypes, numHiddenLayers } = config;
  const first = layerTypes.indexOf("sliding_attention");
  return {
    ...decoderFields(config),
    hidden_act: "silu",
    use_sliding_window: slidingWindow !== null,
    sliding_window: slidingWindow,
    max_window_layers: first < 0 ? numHiddenLayers : first,
    layer_types: layerTypes,
  };
}

/** The files of SmolLM 3. */
export const smolLM3Files: Architecture<Required<SmolLM3Config>, SmolLM3> = {
  modelType: "smollm3",
  className: "SmolLM3ForCausalLM",
  model: SmolLM3,
  ...common,

  readConfig(fields) {
    fields.expect("hidden_act", "silu");
    fields.expect("attention_bias", false);
    fields.expect("mlp_bias", false);
    const defaults = { rmsNormEps: 1e-6, maxPositionEmbeddings: 32_768, ropeTheta: 2_000_000 };
    const config = readDecoder(fields, { ...defaults, tieWordEmbeddings: true });
    const slidingWindow = readSwitchedWindow(fields);
    const every = fields.size("no_rope_layer_interval", 4);
    const noRopeLayers = fields.oneOfEach("no_rope_layers", 0, 1) ??
      Array.from({ length: config.numHiddenLayers }, (_, i) => Number((i + 1) % every !== 0));
    return {
      ...config,
      ...{ slidingWindow, noRopeLayers, ropeLayout: "half-split" },
      layerTypes: readLayerTypes(
        fields,
        config,
        (layer) => slidingWindow !== null && noRopeLayers[layer] === 0,
      ),
    };
  },

  configFields: (config) => ({
    ...decoderFields(config),
    ...{ hidden_act: "silu", attention_bias: false, mlp_bias: false },
    use_sliding_window: config.slidingWindow !== null,
    sliding_window: config.slidingWindow,
    layer_types: config.layerTypes,
    no_rope_layers: config.noRopeLayers,
  }),
};

/** The files of Phi 3 and 4. */
export const phi3Files: Architecture<Required<Phi3Config>, Phi3> = {
  modelType: "phi3",
  className: "Phi3ForCausalLM",
  model: Phi3,
  ...common,

  readConfig(fields) {
    fields.expect("hidden_act", "silu");
    fields.expect("resid_pdrop", 0);
    fields.expect("embd_pdrop", 0);
    const rope = fields.object("rope_parameters");
    const has = rope?.get("partial_rotary_factor") !== undefined ? rope : fields;
    return {
      ...readDecoder(fields, { rmsNormEps: 1e-5, maxPositionEmbeddings: 4096 }),
      slidingWindow: fields.sizeOrNull("sliding_window", null),
      partialRotaryFactor: has.positive("partial_rotary_factor", 1),
    };
  },

  configFields(config) {
    const partial = { partial_rotary_factor: config.partialRotaryFactor };
    const { rope_parameters, ...fields } = decoderFields(config);
    return {
      ...{
        ...fields,
        ...partial,
        rope_parameters: { ...rope_parameters as JsonObject, ...partial },
      },
      ...{ hidden_act: "silu", resid_pdrop: 0, embd_pdrop: 0 },
      sliding_window: config.slidingWindow,
      original_max_position_embeddings: config.maxPositionEmbeddings,
      pad_token_id: null, // the class defaults to Phi's own id, which a small vocabulary lacks
    };
  },
};

/** The files of Gemma 3 without pictures. */
export const gemma3TextFiles: Architecture<Required<Gemma3Config>, Gemma3> = {
  modelType: "gemma3_text",
  className: "Gemma3ForCausalLM",
  model: Gemma3,
  ...common,

  readConfig(fields) {
    fields.expect("hidden_activation", "gelu_pytorch_tanh");
    fields.expect("attention_bias", false);
    fields.expect("use_bidirectional_attention", false);
    if (fields.get("attn_logit_softcapping") !== undefined) {
      fields.refuse("attn_logit_softcapping", "null");
    }
    const cap = "final_logit_softcapping";
    const config = readDecoder(fields, {
      ...{ vocabSize: 262_208, hiddenSize: 2304, intermediateSize: 9216, numHiddenLayers: 26 },
      ...{ numAttentionHeads: 8, numKeyValueHeads: 4, headDim: 256, rmsNormEps: 1e-6 },
      ...{ maxPositionEmbeddings: 131_072, tieWordEmbeddings: true },
    });
    const every = fields.size("sliding_window_pattern", 6);
    const parameters = fields.object("rope_parameters");
    const full = parameters?.object("full_attention");
    const sliding = parameters?.object("sliding_attention");
    sliding?.expect("rope_type", "default");
    return {
      ...config,
      slidingWindow: fields.size("sliding_window", 4096),
      layerTypes: readLayerTypes(fields, config, (layer) => (layer + 1) % every !== 0),
      queryPreAttnScalar: fields.positive("query_pre_attn_scalar", 256),
      finalLogitSoftcapping: fields.get(cap) === undefined ? null : fields.positive(cap),
      ropeTheta: (full ?? fields).positive("rope_theta", 1_000_000),
      ropeScaling: readScaling(full ?? fields.object("rope_scaling"), fields),
      ropeLocalBaseFreq: sliding
        ? sliding.positive("rope_theta", 10_000)
        : fields.positive("rope_local_base_freq", 10_000),
    };
  },

  configFields(config) {
    const { rope_parameters, ...fields } = decoderFields(config);
    return {
      ...fields,
      hidden_activation: "gelu_pytorch_tanh",
      attention_bias: false,
      attn_logit_softcapping: null,
      final_logit_softcapping: config.finalLogitSoftcapping,
      query_pre_attn_scalar: config.queryPreAttnScalar,
      sliding_window: config.slidingWindow,
      layer_types: config.layerTypes,
      rope_local_base_freq: config.ropeLocalBaseFreq,
      rope_parameters: {
        full_attention: rope_parameters,
        sliding_attention: { rope_type: "default", rope_theta: config.ropeLocalBaseFreq },
      },
    };
  },
};

/** The files of Gemma 3 with pictures, of which only the text model is read. */
export const gemma3Files: Architecture<Required<Gemma3Config>, Gemma3> = {
  ...gemma3TextFiles,
  modelType: "gemma3",
  prefix: "language_model.",
  readConfig: (fields) => gemma3TextFiles.readConfig(fields.object("text_config") ?? fields),
  isIgnored: (name, config) =>
    /^(vision_tower|multi_modal_projector)\./.test(name) || gemma3TextFiles.isIgnored(name, config),
};

/** Reads the fields that all families have. */
function readDecoder(
  fields: ConfigFields,
  defaults: Partial<FilledConfig>,
): FilledConfig {
  const hiddenSize = fields.size("hidden_size", defaults.hiddenSize);
  const heads = fields.size("num_attention_heads", defaults.numAttentionHeads);
  const { headDim = hiddenSize / heads } = defaults;
  if (fields.get("head_dim") === undefined && !Number.isInteger(headDim)) {
    fields.refuse("num_attention_heads", `a divisor of the hidden size ${hiddenSize}`);
  }
  return {
    vocabSize: fields.size("vocab_size", defaults.vocabSize),
    maxPositionEmbeddings: fields.size("max_position_embeddings", defaults.maxPositionEmbeddings),
    hiddenSize,
    intermediateSize: fields.size("intermediate_size", defaults.intermediateSize),
    numHiddenLayers: fields.size("num_hidden_layers", defaults.numHiddenLayers),
    numAttentionHeads: heads,
    numKeyValueHeads: fields.size("num_key_value_heads", defaults.numKeyValueHeads ?? heads),
    headDim: fields.size("head_dim", headDim),
    ...readRotary(fields, defaults.ropeTheta ?? 10_000),
    rmsNormEps: fields.positive("rms_norm_eps", defaults.rmsNormEps),
    tieWordEmbeddings: fields.flag("tie_word_embeddings", defaults.tieWordEmbeddings ?? false),
    attentionDropout: fields.probability("attention_dropout", 0),
  };
}

function decoderFields(config: FilledConfig): JsonObject {
  return {
    vocab_size: config.vocabSize,
    max_position_embeddings: config.maxPositionEmbeddings,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numHiddenLayers,
    num_attention_heads: config.numAttentionHeads,
    num_key_value_heads: config.numKeyValueHeads,
    head_dim: config.headDim,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    rope_scaling: scalingFields(config.ropeScaling),
    // The same for transformers 5, which has both in one.
    rope_parameters: {
      rope_type: "default",
      ...scalingFields(config.ropeScaling),
      rope_theta: config.ropeTheta,
    },
    attention_dropout: config.attentionDropout,
    initializer_range: 0.02,
    tie_word_embeddings: config.tieWordEmbeddings,
    bos_token_id: null, // the classes default to the ids of their first models
    eos_token_id: null,
  };
}

/** Reads a window that another field may switch off. */
function readSwitchedWindow(fields: ConfigFields): number | null {
  return fields.flag("use_sliding_window", false)
    ? fields.sizeOrNull("sliding_window", 4096)
    : null;
}

function readLayerTypes(
  fields: ConfigFields,
  { numHiddenLayers }: DecoderConfig,
  isSliding: (layer: number) => boolean,
): Required<SlidingConfig>["layerTypes"] {
  const types = ["full_attention", "sliding_attention"] as const;
  return fields.oneOfEach<LayerType>("layer_types", ...types) ??
    Array.from({ length: numHiddenLayers }, (_, layer) => types[Number(isSliding(layer))]!);
}
/**
 * Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both in newer files; the older fields take
 * precedence.
 */
function readRotary(
  fields: ConfigFields,
  theta: number,
): Pick<FilledConfig, "ropeTheta" | "ropeScaling"> {
  const scaling = fields.object("rope_scaling") ?? fields.object("rope_parameters");
  const hasTheta = scaling?.get("rope_theta") !== undefined;
  return {
    ropeTheta: (hasTheta ? scaling! : fields).positive("rope_theta", theta),
    ropeScaling: readScaling(scaling, fields),
  };
}

function readScaling(fields: ConfigFields | undefined, whole: ConfigFields): RotaryScaling | null {
  if (!fields) return null;
  const name = fields.get("rope_type") === undefined ? "type" : "rope_type";
  const type = fields.get(name) ?? "default";
  const originalContextSize = () =>
    fields.size(
      "original_max_position_embeddings",
      whole.size("max_position_embeddings", 2048),
    );
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
        originalContextSize: originalContextSize(),
      };
    case "yarn":
      fields.expect("truncate", true);
      for (const one of ["mscale", "mscale_all_dim"]) {
        if (fields.get(one) !== undefined) fields.refuse(one, "missing");
      }
      return {
        type: "yarn",
        factor: fields.positive("factor"),
        ...fields.get("attention_factor") !== undefined &&
          { attentionFactor: fields.positive("attention_factor") },
        betaFast: fields.positive("beta_fast", 32),
        betaSlow: fields.positive("beta_slow", 1),
        originalContextSize: originalContextSize(),
      };
    default:
      return fields.refuse(name, `"default", "linear", "llama3" or "yarn"`);
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
    case "yarn":
      return {
        rope_type: "yarn",
        factor: scaling.factor,
        attention_factor: scaling.attentionFactor ?? null,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        original_max_position_embeddings: scaling.originalContextSize,
      };
  }
}
