/**
 * The families of models as llama.cpp stores them in GGUF files: a table of names each, what stands in the metadata, and
 * how matrices are arranged. To add a family, add its entry.
 *
 * @module
 */
import type { GgufFile, GgufValue } from "../io/gguf.ts";
import { FileFormatError } from "../io/errors.ts";
import type { GPT2Config } from "../models/gpt2.ts";
import type { FilledConfig, RopeLayoutConfig, SlidingConfig } from "../models/decoder.ts";
import { fiveOfSix, type Gemma3Config } from "../models/gemma3.ts";
import type { LLaMAConfig } from "../models/llama.ts";
import type { Phi3Config } from "../models/phi3.ts";
import type { QwenConfig } from "../models/qwen.ts";
import { everyFourth, type SmolLM3Config } from "../models/smollm3.ts";
import { rotaryFrequencies, type RotaryScaling } from "../ops/rotary.ts";
import type { Sizes } from "./architecture.ts";
import type { ConfigFields } from "./config_fields.ts";
import type { ModelKind } from "./model_kinds.ts";
import type { Arrangement } from "./stored_tensor.ts";

/** A tensor that is made of the configuration and not of a parameter. */
export interface ComputedTensor {
  /** Its name in the file. */
  readonly name: string;
  /** Its numbers. */
  readonly values: Float32Array;
}

/** How a family is stored in GGUF files: C is its configuration with all that the files need. */
export interface GgufArchitecture<C> {
  /** Which model it is. */
  readonly kind: ModelKind;
  /** Models that are stored in the same way, and are read as that one. */
  readonly others?: readonly ModelKind[];
  /** `general.name`, where it shall not be the name of the class. */
  readonly name?: string;
  /** Names of tensors by those of parameters, without `.weight` and `.bias`; `*` is the number of a block. */
  readonly names: Readonly<Record<string, string>>;
  /**
   * The configuration that a file gives; `fields` are the values under the architecture's own keys.
   *
   * @throws {FileFormatError} for what this library does not compute
   */
  readConfig(fields: ConfigFields, file: GgufFile): C | Promise<C>;
  /** The values under the architecture's own keys. */
  metadata(config: C): Readonly<Record<string, GgufValue>>;
  /** How a parameter is arranged in the file; undefined: as in the model. */
  arrangement(name: string, config: C): Arrangement | undefined;
  /** Tensors that files may have besides, such as tables that models compute for themselves. */
  isIgnored(nameInFile: string, config: C): boolean;
  /** Tensors that others expect besides the parameters. */
  computed?(config: C): readonly ComputedTensor[];
}

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });
const text = (value: string): GgufValue => ({ type: "string", value });

/** Factors of the rotary frequencies, one a pair of a head, as LLaMA 3.1 and later have them. */
const ROPE_FACTORS = "rope_freqs.weight";

/** The names that all families after LLaMA have. */
const DECODER_NAMES = {
  "model.embed_tokens": "token_embd",
  "model.layers.*.input_layernorm": "blk.*.attn_norm",
  "model.layers.*.self_attn.q_proj": "blk.*.attn_q",
  "model.layers.*.self_attn.k_proj": "blk.*.attn_k",
  "model.layers.*.self_attn.v_proj": "blk.*.attn_v",
  "model.layers.*.self_attn.o_proj": "blk.*.attn_output",
  "model.layers.*.post_attention_layernorm": "blk.*.ffn_norm",
  "model.layers.*.mlp.gate_proj": "blk.*.ffn_gate",
  "model.layers.*.mlp.up_proj": "blk.*.ffn_up",
  "model.layers.*.mlp.down_proj": "blk.*.ffn_down",
  "model.norm": "output_norm",
  "lm_head": "output",
} as const;

const QK_NORM_NAMES = {
  "model.layers.*.self_attn.q_norm": "blk.*.attn_q_norm",
  "model.layers.*.self_attn.k_norm": "blk.*.attn_k_norm",
} as const;

/** What the families after LLaMA share, with pairs half a head apart. */
const decoder = {
  names: DECODER_NAMES,
  metadata: decoderMetadata,
  arrangement: () => undefined,
  isIgnored: (name: string) => name === ROPE_FACTORS || name.endsWith(".attn_rot_embd.weight"),

  computed({ ropeScaling, ropeTheta, headDim }: FilledConfig): readonly ComputedTensor[] {
    if (ropeScaling?.type !== "llama3") return [];
    return [{ name: ROPE_FACTORS, values: rotaryFactors(headDim, ropeTheta, ropeScaling) }];
  },
} satisfies Partial<GgufArchitecture<FilledConfig>>;

async function readDecoder(
  fields: ConfigFields,
  file: GgufFile,
  turnedPart = 1,
): Promise<FilledConfig> {
  const hiddenSize = fields.size("embedding_length");
  const numAttentionHeads = fields.size("attention.head_count");
  const headDim = fields.size("attention.key_length", hiddenSize / numAttentionHeads);
  fields.expect("attention.value_length", headDim);
  fields.expect("rope.dimension_count", headDim * turnedPart);
  fields.expect("expert_count", 0);
  const ropeTheta = fields.positive("rope.freq_base", 10_000);
  const maxPositionEmbeddings = fields.size("context_length");
  return {
    vocabSize: vocabSizeOf(file),
    maxPositionEmbeddings,
    hiddenSize,
    intermediateSize: fields.size("feed_forward_length"),
    numHiddenLayers: fields.size("block_count"),
    numAttentionHeads,
    numKeyValueHeads: fields.size("attention.head_count_kv", numAttentionHeads),
    headDim,
    ropeTheta,
    ropeScaling: await readScaling(fields, file, { headDim, ropeTheta, maxPositionEmbeddings }),
    rmsNormEps: shortest(fields.positive("attention.layer_norm_rms_epsilon")),
    tieWordEmbeddings: !file.tensors.has("output.weight"),
    attentionDropout: 0, // of which files say nothing
  };
}

function decoderMetadata(config: FilledConfig): Record<string, GgufValue> {
  return {
    context_length: u32(config.maxPositionEmbeddings),
    embedding_length: u32(config.hiddenSize),
    block_count: u32(config.numHiddenLayers),
    feed_forward_length: u32(config.intermediateSize),
    "attention.head_count": u32(config.numAttentionHeads),
    "attention.head_count_kv": u32(config.numKeyValueHeads),
    "attention.key_length": u32(config.headDim),
    "attention.value_length": u32(config.headDim),
    "attention.layer_norm_rms_epsilon": f32(config.rmsNormEps),
    "rope.dimension_count": u32(config.headDim),
    "rope.freq_base": f32(config.ropeTheta),
    vocab_size: u32(config.vocabSize),
    ...scalingMetadata(config.ropeScaling),
  };
}

function scalingMetadata(scaling: RotaryScaling | null): Record<string, GgufValue> {
  if (scaling === null || scaling.type === "llama3") return {};
  const common = {
    "rope.scaling.type": text(scaling.type),
    "rope.scaling.factor": f32(scaling.factor),
  };
  if (scaling.type === "linear") return common;
  if (scaling.attentionFactor !== undefined) {
    throw new RangeError(
      `saveGguf: expected YaRN without an attentionFactor but got ${scaling.attentionFactor}`,
    );
  }
  return {
    ...common,
    "rope.scaling.original_context_length": u32(scaling.originalContextSize),
    "rope.scaling.yarn_beta_fast": f32(scaling.betaFast),
    "rope.scaling.yarn_beta_slow": f32(scaling.betaSlow),
  };
}

/** llama.cpp has the pairs of some families side by side. */
const interleaved = {
  ...decoder,
  arrangement(
    name: string,
    { ropeLayout, numAttentionHeads, numKeyValueHeads }: FilledConfig & RopeLayoutConfig,
  ): Arrangement | undefined {
    if (ropeLayout === "interleaved") return undefined;
    if (name.endsWith(".q_proj.weight")) return { interleavedHeads: numAttentionHeads };
    if (name.endsWith(".k_proj.weight")) return { interleavedHeads: numKeyValueHeads };
    return undefined;
  },
} satisfies Partial<GgufArchitecture<FilledConfig & RopeLayoutConfig>>;

const llama: GgufArchitecture<Required<LLaMAConfig>> = {
  ...interleaved,
  kind: "llama",
  others: ["mistral"],
  metadata: unwindowedMetadata,
  readConfig: async (fields, file) => ({
    ...await readDecoder(fields, file),
    ropeLayout: "interleaved",
  }),
};

/** A configuration whose attention is full in all blocks: llama.cpp has windows in Gemma's files alone. */
function unwindowed<C extends FilledConfig>(config: C): C & Required<SlidingConfig> {
  const layerTypes = Array.from(
    { length: config.numHiddenLayers },
    () => "full_attention" as const,
  );
  return { ...config, slidingWindow: null, layerTypes };
}

/** The metadata without a window. Throws a `RangeError` where the model has one within its context. */
function unwindowedMetadata(
  config: FilledConfig & Pick<SlidingConfig, "slidingWindow">,
): Record<string, GgufValue> {
  const { slidingWindow: window = null, maxPositionEmbeddings } = config;
  if (window === null || window >= maxPositionEmbeddings) return decoderMetadata(config);
  throw new RangeError(
    `saveGguf: expected no slidingWindow, which llama.cpp does not compute in this family, but got ${window}`,
  );
}

const qwen2: GgufArchitecture<Required<QwenConfig>> = {
  ...decoder,
  kind: "qwen2",
  readConfig: async (fields, file) => unwindowed(await readDecoder(fields, file)),
  metadata: unwindowedMetadata,
};

const qwen3: GgufArchitecture<Required<QwenConfig>> = {
  ...qwen2,
  kind: "qwen3",
  names: { ...DECODER_NAMES, ...QK_NORM_NAMES },
};

const smollm3: GgufArchitecture<Required<SmolLM3Config>> = {
  ...interleaved,
  kind: "smollm3",

  readConfig: async (fields, file) => {
    const config = await readDecoder(fields, file);
    const noRopeLayers = everyFourth(config.numHiddenLayers);
    return { ...unwindowed(config), noRopeLayers, ropeLayout: "interleaved" };
  },

  metadata(config) {
    const { noRopeLayers, numHiddenLayers } = config;
    if (everyFourth(numHiddenLayers).every((flag, i) => flag === noRopeLayers[i])) {
      return unwindowedMetadata(config);
    }
    throw new RangeError(
      `saveGguf: expected noRopeLayers with 0 for every fourth block but got ${noRopeLayers}`,
    );
  },
};

const phi3: GgufArchitecture<Required<Phi3Config>> = {
  ...decoder,
  kind: "phi3",
  name: "Phi", // with "Phi3" in it llama.cpp looks for special tokens of the first Phi 3
  names: {
    ...DECODER_NAMES,
    "model.layers.*.self_attn.qkv_proj": "blk.*.attn_qkv",
    "model.layers.*.mlp.gate_up_proj": "blk.*.ffn_up",
  },

  readConfig: async (fields, file) => {
    const headDim = fields.size("embedding_length") / fields.size("attention.head_count");
    const partialRotaryFactor = fields.size("rope.dimension_count", headDim) / headDim;
    const config = await readDecoder(fields, file, partialRotaryFactor);
    return { ...config, slidingWindow: null, partialRotaryFactor };
  },

  metadata: (config) => ({
    ...unwindowedMetadata(config),
    "rope.dimension_count": u32(Math.floor(config.headDim * config.partialRotaryFactor)),
    "rope.scaling.original_context_length": u32(config.maxPositionEmbeddings),
  }),
};

const gemma3: GgufArchitecture<Required<Gemma3Config>> = {
  ...decoder,
  kind: "gemma3_text",
  names: {
    ...DECODER_NAMES,
    ...QK_NORM_NAMES,
    "model.layers.*.post_attention_layernorm": "blk.*.post_attention_norm",
    "model.layers.*.pre_feedforward_layernorm": "blk.*.ffn_norm",
    "model.layers.*.post_feedforward_layernorm": "blk.*.post_ffw_norm",
  },

  readConfig: async (fields, file) => {
    for (const name of ["attn_logit_softcapping", "final_logit_softcapping"]) {
      if (fields.get(name) !== undefined) fields.refuse(name, "missing");
    }
    fields.expect("attention.sliding_window_pattern", 6);
    fields.expect("rope.freq_base_swa", 10_000);
    fields.positive("rope.freq_base"); // whose default is not that of the others
    const config = await readDecoder(fields, file);
    return {
      ...config,
      slidingWindow: fields.size("attention.sliding_window"),
      layerTypes: fiveOfSix(config.numHiddenLayers),
      ropeLocalBaseFreq: 10_000,
      queryPreAttnScalar: gemmaScalar(config),
      finalLogitSoftcapping: null,
    };
  },

  metadata(config) {
    const { layerTypes, ropeLocalBaseFreq, queryPreAttnScalar, numHiddenLayers } = config;
    const fixed = fiveOfSix(numHiddenLayers).every((type, i) => type === layerTypes[i]) &&
      ropeLocalBaseFreq === 10_000 && queryPreAttnScalar === gemmaScalar(config) &&
      config.finalLogitSoftcapping === null;
    if (!fixed) {
      throw new RangeError(
        "saveGguf: expected Gemma's own layerTypes, ropeLocalBaseFreq and queryPreAttnScalar and no soft-capping, which are not in files, " +
          "but got others",
      );
    }
    return {
      ...decoderMetadata(config),
      "attention.sliding_window": u32(config.slidingWindow),
    };
  },

  // Files have 1 + weight.
  arrangement: (name) => name.endsWith("norm.weight") ? { added: 1 } : undefined,
};

/** What llama.cpp divides the scores of a Gemma 3 by the root of: of its 27B, E / H. */
function gemmaScalar({ numHiddenLayers, hiddenSize, numAttentionHeads, headDim }: FilledConfig) {
  return numHiddenLayers === 62 ? hiddenSize / numAttentionHeads : headDim;
}

const gpt2: GgufArchitecture<Required<GPT2Config>> = {
  kind: "gpt2",
  names: {
    "wte": "token_embd",
    "wpe": "position_embd",
    "h.*.ln_1": "blk.*.attn_norm",
    "h.*.attn.c_attn": "blk.*.attn_qkv",
    "h.*.attn.c_proj": "blk.*.attn_output",
    "h.*.ln_2": "blk.*.ffn_norm",
    "h.*.mlp.c_fc": "blk.*.ffn_up",
    "h.*.mlp.c_proj": "blk.*.ffn_down",
    "ln_f": "output_norm",
  },

  readConfig(fields, file) {
    return {
      vocabSize: vocabSizeOf(file),
      maxPositionEmbeddings: fields.size("context_length"),
      hiddenSize: fields.size("embedding_length"),
      numHiddenLayers: fields.size("block_count"),
      numAttentionHeads: fields.size("attention.head_count"),
      intermediateSize: fields.size("feed_forward_length"),
      layerNormEpsilon: shortest(fields.positive("attention.layer_norm_epsilon")),
      ...{ dropout: 0, attentionDropout: 0 }, // of which files say nothing
    };
  },

  metadata(config) {
    return {
      context_length: u32(config.maxPositionEmbeddings),
      embedding_length: u32(config.hiddenSize),
      block_count: u32(config.numHiddenLayers),
      feed_forward_length: u32(config.intermediateSize),
      "attention.head_count": u32(config.numAttentionHeads),
      "attention.layer_norm_epsilon": f32(config.layerNormEpsilon),
      vocab_size: u32(config.vocabSize),
    };
  },

  arrangement: () => undefined,

  isIgnored: (name) => name === "output.weight", // the embedding under its second name
};

function erased<C>(architecture: GgufArchitecture<C>): GgufArchitecture<Sizes> {
  return architecture as unknown as GgufArchitecture<Sizes>;
}

/** The families by their `general.architecture`. */
export const GGUF_ARCHITECTURES: Readonly<Record<string, GgufArchitecture<Sizes>>> = {
  llama: erased(llama),
  qwen2: erased(qwen2),
  qwen3: erased(qwen3),
  gemma3: erased(gemma3),
  phi3: erased(phi3),
  smollm3: erased(smollm3),
  gpt2: erased(gpt2),
};

/** The name in the file of a parameter. */
export function nameInGguf({ names }: GgufArchitecture<Sizes>, parameter: string): string {
  const [, layer, kind] = /^(.*)\.(weight|bias)$/.exec(parameter)!;
  const block = /\.(\d+)\./.exec(layer!)?.[1];
  const name = names[block === undefined ? layer! : layer!.replace(`.${block}.`, ".*.")];
  if (name === undefined) {
    throw new Error(`nameInGguf: expected a parameter of the table but got "${parameter}"`);
  }
  return `${name.replace("*", block!)}.${kind}`;
}

/** The number of rows of the embedding: not all files have it in their metadata. */
function vocabSizeOf(file: GgufFile): number {
  const rows = file.tensors.get("token_embd.weight")?.shape[0];
  if (rows) return rows;
  throw new FileFormatError(`expected a tensor "token_embd.weight" with rows but got none`, {
    file: file.name,
  });
}

/** The shortest decimal that is this float32, such as 1e-5 for the float32 that 1e-5 was rounded to. */
function shortest(value: number): number {
  return Number(value.toPrecision(7));
}

async function readScaling(
  fields: ConfigFields,
  file: GgufFile,
  { headDim, ropeTheta, maxPositionEmbeddings }: Pick<
    FilledConfig,
    "headDim" | "ropeTheta" | "maxPositionEmbeddings"
  >,
): Promise<RotaryScaling | null> {
  if (file.tensors.has(ROPE_FACTORS)) {
    return llama3Scaling(await file.readFloat32(ROPE_FACTORS), file.name, headDim, ropeTheta);
  }
  // Old files have the factor alone.
  const old = fields.get("rope.scale_linear");
  const type = fields.get("rope.scaling.type") ?? (old === undefined ? "none" : "linear");
  if (type === "none") return null;
  if (type !== "linear" && type !== "yarn") {
    fields.refuse("rope.scaling.type", `"none", "linear" or "yarn"`);
  }
  const factor = fields.positive(old === undefined ? "rope.scaling.factor" : "rope.scale_linear");
  if (type === "yarn") {
    fields.expect("rope.scaling.attn_factor", 1);
    fields.expect("rope.scaling.yarn_attn_factor", 1);
    fields.expect("rope.scaling.yarn_ext_factor", 1);
    return {
      type,
      factor,
      betaFast: fields.positive("rope.scaling.yarn_beta_fast", 32),
      betaSlow: fields.positive("rope.scaling.yarn_beta_slow", 1),
      originalContextSize: fields.size(
        "rope.scaling.original_context_length",
        maxPositionEmbeddings,
      ),
    };
  }
  return factor === 1 ? null : { type: "linear", factor };
}

/** The scaling of LLaMA 3.1 and 3.2 that has these factors: files hold the factors and not what they were made of. */
function llama3Scaling(
  factors: Float32Array,
  file: string,
  headSize: number,
  theta: number,
): RotaryScaling {
  const scaling = {
    type: "llama3",
    factor: factors.reduce((a, b) => Math.max(a, b), 0),
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContextSize: 8192,
  } as const;
  const isScaling = factors.length === headSize / 2 && scaling.factor > 0 &&
    scaling.factor < Infinity && headSize % 2 === 0;
  const expected = isScaling ? rotaryFactors(headSize, theta, scaling) : [];
  const fits = isScaling &&
    factors.every((factor, i) => Math.abs(factor / expected[i]! - 1) < 1e-4);
  if (fits) return scaling;
  throw new FileFormatError(
    `expected "${ROPE_FACTORS}" to be the factors of LLaMA 3.1 but got others, which this library does not compute`,
    { file },
  );
}

/** By how much slower each pair of a head turns than without scaling. */
function rotaryFactors(width: number, theta: number, scaling: RotaryScaling): Float32Array {
  const slower = rotaryFrequencies(width, theta, scaling);
  return Float32Array.from(
    rotaryFrequencies(width, theta),
    (frequency, i) => frequency / slower[i]!,
  );
}
