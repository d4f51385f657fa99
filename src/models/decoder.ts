/**
 * What LLaMA and the families after it share: a stack of pre-norm blocks with RMS norms, rotary positions in every
 * attention, a gated MLP, and no biases. The file of each family says how it differs. Fields have the names of Hugging
 * Face's files.
 *
 * Sizes in the comments: B sequences, T tokens, E hidden size, H heads of size D, Hkv key and value heads, F
 * intermediate size, V vocabulary.
 *
 * @module
 */
import {
  type AttentionPattern,
  causalPattern,
  Embedding,
  init,
  Linear,
  Module,
  type ParameterOptions,
  RMSNorm,
  seenKeys,
  splitHeads,
} from "../nn/mod.ts";
import {
  add,
  reshape,
  rotary,
  type RotaryOptions,
  type RotaryScaling,
  swiglu,
} from "../ops/mod.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Block, CausalLM, type CausalLMConfig, type Pass } from "./causal_lm.ts";

/** The configuration that all families have, under the names of Hugging Face's `config.json`. */
export interface DecoderConfig extends Omit<CausalLMConfig, "finalLogitSoftcapping"> {
  /** The maximum length of a sequence. No parameter depends on it. */
  readonly maxPositionEmbeddings: number;
  /** F, the width inside the MLP. Default: the result of {@linkcode gatedIntermediateSize}. */
  readonly intermediateSize?: number;
  /**
   * The base of the rotary frequencies. The larger it is, the slower the last pair of a head rotates. Default: 10,000.
   */
  readonly ropeTheta?: number;
  /**
   * How the rotary frequencies are scaled for a context longer than in pretraining, as since LLaMA 3.1. Default:
   * `null`.
   */
  readonly ropeScaling?: RotaryScaling | null;
  /** Added to the mean square in every norm. Default: 1e-5. */
  readonly rmsNormEps?: number;
  /** Whether the token embedding is also the output matrix. Default: false. */
  readonly tieWordEmbeddings?: boolean;
  /** The probability of dropping an attention weight in training; nothing else is dropped. Default: 0. */
  readonly attentionDropout?: number;
}

/** The configuration of families whose files may have either order of rotary pairs. */
export interface RopeLayoutConfig {
  /**
   * Which elements of a head rotate together: those half a head apart (`half-split`), as in Hugging Face's files, or
   * adjacent ones (`interleaved`), as in the RoFormer paper, in Meta's files and in GGUF files. Default: `half-split`.
   */
  readonly ropeLayout?: RotaryOptions["layout"];
}

/** Whether a block attends to all earlier tokens or only to the last `slidingWindow`. */
export type LayerType = "full_attention" | "sliding_attention";

/** The configuration of families in which blocks may have sliding attention. */
export interface SlidingConfig {
  /** The number of tokens that a token sees in blocks with sliding attention, itself included. Default: `null`, all. */
  readonly slidingWindow?: number | null;
  /** The kind of attention of each block. Default: full attention in all, unless the family says otherwise. */
  readonly layerTypes?: readonly LayerType[];
}

/** How a family differs from LLaMA. */
export interface DecoderTraits {
  /** Whether queries, keys and values have biases. */
  readonly qkvBias?: boolean;
  /** Whether queries and keys are normalised, per head (Henry et al. 2020, "Query-Key Normalization"). */
  readonly qkNorm?: boolean;
  /** Added to the weights of all norms. */
  readonly normOffset?: number;
  /** The factor that attention scores are multiplied by. Default: 1 / sqrt(D). */
  readonly scale?: number;
  /** The rotary options of a block, `null` for no positions. Default: those of the configuration, in all blocks. */
  rope?(layer: number): Pick<RotaryOptions, "theta" | "scaling" | "turned" | "layout"> | null;
  /** The number of tokens that a token sees in a block, itself included. Default: all. */
  window?(layer: number): number | undefined;
  /** Creates the attention of a block. Default: {@linkcode SelfAttention}. */
  attention?(config: FilledConfig, options: ParameterOptions, setting: AttentionSetting): Attention;
  /** Creates the MLP of a block. Default: {@linkcode MLP}. */
  mlp?(config: FilledConfig, options: ParameterOptions): GatedMLP;
  /** Creates a block from a norm, attention and an MLP. Default: {@linkcode DecoderBlock}. */
  block?(attention: Attention, mlp: GatedMLP, norm: () => RMSNorm): Block;
}

/** A configuration with all defaults of the shared parts filled in. */
export type FilledConfig = Required<DecoderConfig>;

/** How a block attends. */
export interface AttentionSetting extends Pick<DecoderTraits, "qkvBias" | "qkNorm" | "normOffset"> {
  /** The rotary options, `null` for no positions. */
  readonly rope: Pick<RotaryOptions, "theta" | "scaling" | "turned" | "layout"> | null;
  /** Which keys a query sees, and the factor of the scores. */
  readonly pattern: AttentionPattern;
}

/**
 * Causal self-attention in which H / Hkv query heads share one head of keys and values (Ainslie et al. 2023, "GQA"),
 * and queries and keys are rotated by their positions (Su et al. 2021, "RoFormer").
 */
export abstract class Attention extends Module {
  /** (B, T, H D) to (B, T, E). */
  abstract readonly o_proj: Linear;

  /** Creates attention for a configuration. */
  constructor(readonly config: FilledConfig, readonly setting: AttentionSetting) {
    super();
  }

  /** Projects x (B, T, E) to queries (B, T, H, D), and keys and values (B, T, Hkv, D), before the rotation. */
  protected abstract project(x: Tensor): [queries: Tensor, keys: Tensor, values: Tensor];

  /** (B, T, E) to (B, T, E). */
  forward(x: Tensor, pass: Pass): Tensor {
    const { rope, pattern } = this.setting;
    const { position, positions, dropout, observe } = pass;
    const turned = (x: Tensor) => rope ? rotary(x, { ...rope, position, positions }) : x;
    const [projected, own, values] = this.project(x);
    const queries = turned(projected), keys = turned(own);
    const seen = seenKeys(pass, keys, values);
    observe?.(pattern.weights(queries, seen), this); // (B, H, T, T)
    const drop = dropout && { p: this.config.attentionDropout, random: dropout };
    const [batch, time, heads, size] = queries.shape as [number, number, number, number];
    const y = pattern.mix(queries, seen, drop); // (B, T, H, D)
    return this.o_proj.forward(reshape(y, [batch, time, heads * size])); // (B, T, E)
  }
}

/**
 * {@linkcode Attention} with separate matrices for queries, keys and values, and optional norms of queries and keys.
 */
export class SelfAttention extends Attention {
  /** (B, T, E) to (B, T, H D). */
  readonly q_proj: Linear;
  /** (B, T, E) to (B, T, Hkv D). */
  readonly k_proj: Linear;
  /** (B, T, E) to (B, T, Hkv D). */
  readonly v_proj: Linear;
  /** (B, T, H D) to (B, T, E). */
  readonly o_proj: Linear;
  /** The norm of each query head. */
  readonly q_norm: RMSNorm | undefined;
  /** The norm of each key head. */
  readonly k_norm: RMSNorm | undefined;

  /** Creates its matrices. */
  constructor(config: FilledConfig, options: ParameterOptions, setting: AttentionSetting) {
    super(config, setting);
    const { hiddenSize: E, numAttentionHeads: H, numKeyValueHeads: Hkv, headDim: D } = config;
    const { qkvBias, qkNorm, normOffset: offset } = setting;
    const start = { ...options, ...START, ...qkvBias && { bias: init.zeros } };
    this.q_proj = new Linear(E, H * D, start);
    this.k_proj = new Linear(E, Hkv * D, start);
    this.v_proj = new Linear(E, Hkv * D, start);
    this.o_proj = new Linear(H * D, E, { ...options, ...residualStart(config) });
    const norm = () => new RMSNorm(D, { ...options, eps: config.rmsNormEps, offset });
    this.q_norm = qkNorm ? norm() : undefined;
    this.k_norm = qkNorm ? norm() : undefined;
  }

  /** @inheritdoc */
  protected project(x: Tensor): [queries: Tensor, keys: Tensor, values: Tensor] {
    const { numAttentionHeads: H, numKeyValueHeads: Hkv } = this.config;
    const queries = splitHeads(this.q_proj.forward(x), H); // (B, T, H, D)
    const keys = splitHeads(this.k_proj.forward(x), Hkv); // (B, T, Hkv, D)
    const values = splitHeads(this.v_proj.forward(x), Hkv); // (B, T, Hkv, D)
    return [this.q_norm?.forward(queries) ?? queries, this.k_norm?.forward(keys) ?? keys, values];
  }
}

/** An MLP whose hidden layer is multiplied by a gate (Shazeer 2020, "GLU Variants Improve Transformer"). */
export interface GatedMLP extends Module {
  /** (B, T, E) to (B, T, E). */
  forward(x: Tensor): Tensor;
}

/** `down(silu(gate(x)) * up(x))`, or with another function of gate and up. */
export class MLP extends Module implements GatedMLP {
  /** (B, T, E) to (B, T, F). */
  readonly gate_proj: Linear;
  /** (B, T, E) to (B, T, F). */
  readonly up_proj: Linear;
  /** (B, T, F) to (B, T, E). */
  readonly down_proj: Linear;

  /** Creates its matrices. */
  constructor(
    config: FilledConfig,
    options: ParameterOptions,
    readonly activation: typeof swiglu = swiglu,
  ) {
    super();
    const { hiddenSize: E, intermediateSize: F } = config;
    this.gate_proj = new Linear(E, F, { ...options, ...START });
    this.up_proj = new Linear(E, F, { ...options, ...START });
    this.down_proj = new Linear(F, E, { ...options, ...residualStart(config) });
  }

  /** (B, T, E) to (B, T, E). */
  forward(x: Tensor): Tensor {
    x = this.activation(this.gate_proj.forward(x), this.up_proj.forward(x)); // (B, T, F)
    return this.down_proj.forward(x); // (B, T, E)
  }
}

/** A block: attention, then an MLP, each of which adds to the residual stream. */
export class DecoderBlock extends Module {
  /** The norm before the attention. */
  readonly input_layernorm: RMSNorm;
  /** The attention. */
  readonly self_attn: Attention;
  /** The norm before the MLP. */
  readonly post_attention_layernorm: RMSNorm;
  /** The MLP. */
  readonly mlp: GatedMLP;

  /** Creates a block from its parts. */
  constructor(attention: Attention, mlp: GatedMLP, norm: () => RMSNorm) {
    super();
    this.input_layernorm = norm();
    this.self_attn = attention;
    this.post_attention_layernorm = norm();
    this.mlp = mlp;
  }

  /** (B, T, E) to (B, T, E). */
  forward(x: Tensor, pass: Pass): Tensor {
    return scoped(() => {
      x = add(x, this.self_attn.forward(this.input_layernorm.forward(x), pass)); // (B, T, E)
      return add(x, this.mlp.forward(this.post_attention_layernorm.forward(x))); // (B, T, E)
    });
  }
}

/**
 * All but the output matrix.
 *
 * @internal
 */
class Stack extends Module {
  readonly embed_tokens: Embedding;
  readonly layers: readonly Block[];
  readonly norm: RMSNorm;

  constructor(config: FilledConfig, options: ParameterOptions, traits: DecoderTraits) {
    super();
    const { vocabSize, hiddenSize: E, numHiddenLayers, rmsNormEps: eps } = config;
    const norm = () => new RMSNorm(E, { ...options, eps, offset: traits.normOffset });
    this.embed_tokens = new Embedding(vocabSize, E, { ...options, init: START.init });
    this.layers = Array.from({ length: numHiddenLayers }, (_, layer) => {
      const rope = traits.rope
        ? traits.rope(layer)
        : { theta: config.ropeTheta, scaling: config.ropeScaling, layout: "half-split" } as const;
      const pattern = causalPattern({ window: traits.window?.(layer), scale: traits.scale });
      const setting = { ...traits, rope, pattern };
      const attention = traits.attention?.(config, options, setting) ??
        new SelfAttention(config, options, setting);
      const mlp = traits.mlp?.(config, options) ?? new MLP(config, options);
      return traits.block?.(attention, mlp, norm) ?? new DecoderBlock(attention, mlp, norm);
    });
    this.norm = norm();
  }
}

/** The base of LLaMA and the families after it. */
export abstract class Decoder<C extends FilledConfig = FilledConfig> extends CausalLM<C> {
  /** The configuration, with all defaults filled in. */
  readonly config: C;
  /** The embedding, the blocks and the norm after them. */
  readonly model: Stack;
  /** The output matrix, unless the embedding is tied to it. */
  readonly lm_head: Linear | undefined;

  /**
   * Creates a model with weights from a normal distribution of standard deviation 0.02, divided by sqrt(2
   * numHiddenLayers) in the maps that write into the residual stream. Biases are 0.
   */
  protected constructor(config: C, options: ParameterOptions, traits?: DecoderTraits) {
    super();
    this.config = config;
    const { vocabSize, hiddenSize: E, tieWordEmbeddings } = config;
    this.model = new Stack(config, options, traits ?? {});
    this.lm_head = tieWordEmbeddings
      ? undefined
      : new Linear(E, vocabSize, { ...options, ...START });
  }

  /** Token vectors, (B, T, E). */
  protected embed(ids: Tensor): Tensor {
    return this.model.embed_tokens.forward(ids);
  }

  /** The blocks. */
  protected get blocks(): readonly Block[] {
    return this.model.layers;
  }

  /** The norm after the blocks. */
  protected get norm(): RMSNorm {
    return this.model.norm;
  }

  /** The output matrix, (V, E). */
  protected get head(): Tensor {
    return (this.lm_head ?? this.model.embed_tokens).weight;
  }
}

/** How linear maps are initialised. */
export const START = { init: init.normal(0.02), bias: false };

/** The two maps of a block that write into the residual stream start smaller, so that it does not grow with depth. */
export function residualStart({ numHiddenLayers }: CausalLMConfig): typeof START {
  return { ...START, init: init.normal(0.02 / Math.sqrt(2 * numHiddenLayers)) };
}

/**
 * A configuration with defaults filled in. Throws a `RangeError` if the key and value heads do not divide the heads, or
 * if the head size is odd.
 *
 * @internal
 */
export function withDefaults<C extends DecoderConfig>(
  model: string,
  config: C,
): C & FilledConfig {
  const { hiddenSize, numAttentionHeads, numKeyValueHeads = numAttentionHeads } = config;
  const { headDim = hiddenSize / numAttentionHeads } = config;
  if (headDim % 2 !== 0) {
    throw new RangeError(
      config.headDim === undefined
        ? `${model}: expected numAttentionHeads to divide hiddenSize into even sizes but got ` +
          `${numAttentionHeads} and ${hiddenSize}`
        : `${model}: expected an even headDim but got ${headDim}`,
    );
  }
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw new RangeError(
      `${model}: expected numKeyValueHeads to divide numAttentionHeads but got ${numKeyValueHeads} and ` +
        numAttentionHeads,
    );
  }
  const { ropeTheta = 10000, ropeScaling = null, rmsNormEps = 1e-5 } = config;
  const { tieWordEmbeddings = false, attentionDropout = 0 } = config;
  const { intermediateSize = gatedIntermediateSize(config) } = config;
  return {
    ...config,
    ...{ intermediateSize, numKeyValueHeads, headDim, rmsNormEps, tieWordEmbeddings },
    ...{ attentionDropout, ropeTheta, ropeScaling },
  };
}

/** The window and the attention kinds of all blocks, filled in. Throws a `RangeError` if they do not match. */
export function withLayerTypes<C extends CausalLMConfig & SlidingConfig>(
  model: string,
  config: C,
): C & Required<SlidingConfig> {
  const { numHiddenLayers: layers, slidingWindow = null } = config;
  const { layerTypes = Array.from({ length: layers }, () => "full_attention" as const) } = config;
  if (layerTypes.length !== layers) {
    throw new RangeError(
      `${model}: expected ${layers} layerTypes, one a block, but got ${layerTypes.length}`,
    );
  }
  if (slidingWindow === null && layerTypes.includes("sliding_attention")) {
    throw new RangeError(
      `${model}: expected a slidingWindow for blocks of sliding attention but got none`,
    );
  }
  return { ...config, slidingWindow, layerTypes };
}

/** {@linkcode DecoderTraits.window} for blocks of these kinds. */
export function windowOf(
  { slidingWindow, layerTypes }: Required<SlidingConfig>,
): (layer: number) => number | undefined {
  return (layer) =>
    layerTypes[layer] === "sliding_attention" && slidingWindow ? slidingWindow : undefined;
}

/**
 * Returns the F for which a block has as many weights as GPT-2's with an MLP of width h (default: 4 E). That block has
 * 4 E^2 weights in its attention and 2 E h in its MLP. With heads of size D, the attention here has 2 E (H + Hkv) D,
 * and what it saves goes to the MLP. The three matrices of a gated MLP are as large as two if F = 2/3 h.
 */
export function gatedIntermediateSize(
  config: Pick<
    DecoderConfig,
    "hiddenSize" | "numAttentionHeads" | "numKeyValueHeads" | "headDim"
  >,
  h?: number,
): number {
  const { hiddenSize: E, numAttentionHeads: H, numKeyValueHeads: Hkv = H } = config;
  const { headDim: D = E / H } = config;
  return Math.round(2 * ((h ?? 4 * E) + 2 * E - (H + Hkv) * D) / 3);
}
