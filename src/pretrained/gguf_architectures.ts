/**
 * The families of models as llama.cpp stores them in GGUF files: a table of names each, what stands in the metadata, and
 * how matrices are arranged. To add a family, add its entry.
 *
 * @module
 */
import type { GgufFile, GgufValue } from "../io/gguf.ts";
import { FileFormatError } from "../io/errors.ts";
import type { GPT2Config } from "../models/gpt2.ts";
import type { LLaMAConfig } from "../models/llama.ts";
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

const llama: GgufArchitecture<Required<LLaMAConfig>> = {
  kind: "llama",
  names: {
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
  },

  async readConfig(fields, file) {
    const hiddenSize = fields.size("embedding_length");
    const numAttentionHeads = fields.size("attention.head_count");
    const headSize = hiddenSize / numAttentionHeads;
    fields.expect("attention.key_length", headSize);
    fields.expect("attention.value_length", headSize);
    fields.expect("rope.dimension_count", headSize);
    fields.expect("expert_count", 0);
    const ropeTheta = fields.positive("rope.freq_base", 10_000);
    return {
      vocabSize: vocabSizeOf(file),
      maxPositionEmbeddings: fields.size("context_length"),
      hiddenSize,
      intermediateSize: fields.size("feed_forward_length"),
      numHiddenLayers: fields.size("block_count"),
      numAttentionHeads,
      numKeyValueHeads: fields.size("attention.head_count_kv", numAttentionHeads),
      ropeTheta,
      ropeScaling: await readScaling(fields, file, headSize, ropeTheta),
      ropeLayout: "interleaved",
      rmsNormEps: shortest(fields.positive("attention.layer_norm_rms_epsilon")),
      tieWordEmbeddings: !file.tensors.has("output.weight"),
    };
  },

  metadata(config) {
    const { ropeScaling: scaling } = config;
    return {
      context_length: u32(config.maxPositionEmbeddings),
      embedding_length: u32(config.hiddenSize),
      block_count: u32(config.numHiddenLayers),
      feed_forward_length: u32(config.intermediateSize),
      "attention.head_count": u32(config.numAttentionHeads),
      "attention.head_count_kv": u32(config.numKeyValueHeads),
      "attention.layer_norm_rms_epsilon": f32(config.rmsNormEps),
      "rope.dimension_count": u32(config.hiddenSize / config.numAttentionHeads),
      "rope.freq_base": f32(config.ropeTheta),
      vocab_size: u32(config.vocabSize),
      ...scaling?.type === "linear" &&
        { "rope.scaling.type": text("linear"), "rope.scaling.factor": f32(scaling.factor) },
    };
  },

  arrangement(name, { ropeLayout, numAttentionHeads, numKeyValueHeads }) {
    if (ropeLayout === "interleaved") return undefined;
    if (name.endsWith(".q_proj.weight")) return { interleavedHeads: numAttentionHeads };
    if (name.endsWith(".k_proj.weight")) return { interleavedHeads: numKeyValueHeads };
    return undefined;
  },

  isIgnored: (name) => name === ROPE_FACTORS || name.endsWith(".attn_rot_embd.weight"),

  computed({ ropeScaling, ropeTheta, hiddenSize, numAttentionHeads }) {
    if (ropeScaling?.type !== "llama3") return [];
    const values = rotaryFactors(hiddenSize / numAttentionHeads, ropeTheta, ropeScaling);
    return [{ name: ROPE_FACTORS, values }];
  },
};

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
      dropout: 0, // of which files say nothing
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
  headSize: number,
  theta: number,
): Promise<RotaryScaling | null> {
  if (file.tensors.has(ROPE_FACTORS)) {
    return llama3Scaling(await file.readFloat32(ROPE_FACTORS), file.name, headSize, theta);
  }
  // Old files have the factor alone.
  const old = fields.get("rope.scale_linear");
  const type = fields.get("rope.scaling.type") ?? (old === undefined ? "none" : "linear");
  if (type === "none") return null;
  if (type !== "linear") fields.refuse("rope.scaling.type", `"none" or "linear"`);
  const factor = fields.positive(old === undefined ? "rope.scaling.factor" : "rope.scale_linear");
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
