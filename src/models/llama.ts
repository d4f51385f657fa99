/**
 * LLaMA (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"; LLaMA 2, the same year;
 * Llama Team 2024, "The Llama 3 Herd of Models"): GPT-2's stack of pre-norm blocks with four changes. RMS norms
 * instead of layer norms, rotary positions in every attention instead of learned ones before the first block, a gated
 * MLP (SwiGLU) instead of a GELU, and no biases; the output matrix is separate. Fields have the names of Hugging Face's
 * files.
 *
 * | | `numKeyValueHeads` | `ropeTheta` |
 * | --- | --- | --- |
 * | LLaMA 1 | as many as `numAttentionHeads` | 10,000 |
 * | LLaMA 2 | fewer: grouped queries | 10,000 |
 * | LLaMA 3 | fewer: grouped queries | 500,000, for longer contexts |
 *
 * Sizes in the comments: B sequences, T tokens, E hidden size, H heads of D = E / H, Hkv heads of keys and
 * values, K = Hkv D, F intermediate size, V vocabulary.
 *
 * @module
 */
import {
  causalAttention,
  Embedding,
  init,
  Linear,
  Module,
  type ParameterOptions,
  RMSNorm,
  splitHeads,
} from "../nn/mod.ts";
import { add, reshape, rotary, swiglu } from "../ops/mod.ts";
import type { RotaryScaling } from "../ops/rotary.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { CausalLM, type Pass } from "./causal_lm.ts";

/** The sizes of a LLaMA, by the names of Hugging Face's `config.json`. */
export interface LLaMAConfig {
  /** V: token ids run from 0 to V - 1. */
  readonly vocabSize: number;
  /** The longest sequence. No parameter depends on it. */
  readonly maxPositionEmbeddings: number;
  /** E, the width of the residual stream. */
  readonly hiddenSize: number;
  /** F, the width inside the MLP. Default: what {@linkcode gatedIntermediateSize} gives. */
  readonly intermediateSize?: number;
  /** Number of blocks. */
  readonly numHiddenLayers: number;
  /** H; divides E into heads of an even size. */
  readonly numAttentionHeads: number;
  /** Hkv; divides H. Default: H, ordinary attention. */
  readonly numKeyValueHeads?: number;
  /** Base of the rotary frequencies: the larger, the slower the last pair of a head turns. Default: 10,000. */
  readonly ropeTheta?: number;
  /** How positions beyond those of the first training are reached, as since LLaMA 3.1. Default: `null`. */
  readonly ropeScaling?: RotaryScaling | null;
  /**
   * Which elements of a head turn together: those half a head apart, as in Hugging Face's files, or neighbours, as in
   * the paper and in Meta's files. Default: `half-split`.
   */
  readonly ropeLayout?: "interleaved" | "half-split";
  /** Added to the mean square in every norm. Default: 1e-5. */
  readonly rmsNormEps?: number;
  /** Whether the token embedding is the output matrix too, as in small LLaMA 3.2 models. Default: false. */
  readonly tieWordEmbeddings?: boolean;
  /** Probability of dropping a weight of attention in training; nothing else is dropped. Default: 0. */
  readonly attentionDropout?: number;
}

type Config = Required<LLaMAConfig>;

/**
 * Causal self-attention in which H / Hkv heads of queries share one head of keys and values (Ainslie et al. 2023,
 * "GQA"), and queries and keys are turned by their positions (Su et al. 2021, "RoFormer").
 */
class SelfAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly config: Config;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, numAttentionHeads: H, numKeyValueHeads } = config;
    const K = numKeyValueHeads * E / H;
    this.q_proj = new Linear(E, E, { ...options, ...START });
    this.k_proj = new Linear(E, K, { ...options, ...START });
    this.v_proj = new Linear(E, K, { ...options, ...START });
    this.o_proj = new Linear(E, E, { ...options, ...residualStart(config) });
    this.config = config;
  }

  forward(x: Tensor, { position, positions, cache, dropout, observe }: Pass): Tensor {
    const { numAttentionHeads: H, numKeyValueHeads: Hkv, attentionDropout: p } = this.config;
    const { ropeTheta: theta, ropeScaling: scaling, ropeLayout: layout } = this.config;
    const rope = { theta, scaling, layout, position, positions };
    const queries = rotary(splitHeads(this.q_proj.forward(x), H), rope); // (B, T, H, D)
    const keys = rotary(splitHeads(this.k_proj.forward(x), Hkv), rope); // (B, T, Hkv, D)
    const values = splitHeads(this.v_proj.forward(x), Hkv); // (B, T, Hkv, D)
    const seen = cache?.append(keys, values) ?? { keys, values };
    observe?.(causalAttention.weights(queries, seen), this); // (B, H, T, T)
    const drop = dropout && { p, random: dropout };
    const y = causalAttention.mix(queries, seen, drop); // (B, T, H, D)
    return this.o_proj.forward(reshape(y, x.shape)); // (B, T, E)
  }
}

/** down(silu(gate(x)) * up(x)) (Shazeer 2020, "GLU Variants Improve Transformer"). */
class MLP extends Module {
  readonly gate_proj: Linear;
  readonly up_proj: Linear;
  readonly down_proj: Linear;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, intermediateSize: F } = config;
    this.gate_proj = new Linear(E, F, { ...options, ...START });
    this.up_proj = new Linear(E, F, { ...options, ...START });
    this.down_proj = new Linear(F, E, { ...options, ...residualStart(config) });
  }

  forward(x: Tensor): Tensor {
    x = swiglu(this.gate_proj.forward(x), this.up_proj.forward(x)); // (B, T, F)
    return this.down_proj.forward(x); // (B, T, E)
  }
}

/**
 * Each of its two parts adds to the residual stream.
 *
 * @internal
 */
class Block extends Module {
  readonly input_layernorm: RMSNorm;
  readonly self_attn: SelfAttention;
  readonly post_attention_layernorm: RMSNorm;
  readonly mlp: MLP;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, rmsNormEps: eps } = config;
    this.input_layernorm = new RMSNorm(E, { ...options, eps });
    this.self_attn = new SelfAttention(config, options);
    this.post_attention_layernorm = new RMSNorm(E, { ...options, eps });
    this.mlp = new MLP(config, options);
  }

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

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { vocabSize, hiddenSize: E, numHiddenLayers, rmsNormEps: eps } = config;
    this.embed_tokens = new Embedding(vocabSize, E, { ...options, init: START.init });
    this.layers = Array.from({ length: numHiddenLayers }, () => new Block(config, options));
    this.norm = new RMSNorm(E, { ...options, eps });
  }
}

/**
 * LLaMA of any size. Of dropout it has that of the attention weights alone, as Hugging Face's class.
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
export class LLaMA extends CausalLM<Required<LLaMAConfig>> {
  /** The sizes, all filled in. */
  readonly config: Required<LLaMAConfig>;
  /** The embedding, the blocks and the norm after them. */
  readonly model: Stack;
  /** The output matrix, unless it is the embedding's. */
  readonly lm_head: Linear | undefined;

  /**
   * A model whose weights come from a normal distribution of standard deviation 0.02, those that write into the
   * residual stream divided by sqrt(2 numHiddenLayers). Throws a `RangeError` when the heads do not divide the hidden
   * size into even sizes, or the heads of keys and values do not divide the heads.
   */
  constructor(config: LLaMAConfig, options?: ParameterOptions) {
    super();
    this.config = withDefaults(config);
    const { vocabSize, hiddenSize: E, tieWordEmbeddings } = this.config;
    this.model = new Stack(this.config, options ?? {});
    this.lm_head = tieWordEmbeddings
      ? undefined
      : new Linear(E, vocabSize, { ...options, ...START });
  }

  /** Token vectors, with what tells positions where the model adds that, (B, T, E). */
  protected embed(ids: Tensor): Tensor {
    return this.model.embed_tokens.forward(ids); // (B, T, E)
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

/** How maps start. */
const START = { init: init.normal(0.02), bias: false };

/** The two maps of a block that write into the residual stream start smaller, so that it does not grow. */
function residualStart({ numHiddenLayers }: Config): typeof START {
  return { ...START, init: init.normal(0.02 / Math.sqrt(2 * numHiddenLayers)) };
}

function withDefaults(config: LLaMAConfig): Config {
  const { hiddenSize, numAttentionHeads, numKeyValueHeads = numAttentionHeads } = config;
  if (hiddenSize % (2 * numAttentionHeads) !== 0) {
    throw new RangeError(
      `LLaMA: expected numAttentionHeads to divide hiddenSize into even sizes but got ` +
        `${numAttentionHeads} and ${hiddenSize}`,
    );
  }
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw new RangeError(
      `LLaMA: expected numKeyValueHeads to divide numAttentionHeads but got ${numKeyValueHeads} and ` +
        numAttentionHeads,
    );
  }
  const { ropeTheta = 10000, ropeScaling = null, ropeLayout = "half-split" } = config;
  const { rmsNormEps = 1e-5, tieWordEmbeddings = false, attentionDropout = 0 } = config;
  const { intermediateSize = gatedIntermediateSize(config) } = config;
  return {
    ...config,
    ...{ intermediateSize, numKeyValueHeads, rmsNormEps, tieWordEmbeddings, attentionDropout },
    ...{ ropeTheta, ropeScaling, ropeLayout },
  };
}

/**
 * F, for which a block has as many weights as GPT-2's with an MLP of width h (default: 4 E). That block has 4 E^2
 * in its attention and 2 E h in its MLP. Grouped queries make the attention 2 E^2 + 2 E K, so 2 E (E - K) are left
 * to spend: h may grow by E - K. And three matrices of a gated MLP are as large as two when F = 2/3 h.
 */
export function gatedIntermediateSize(
  config: Pick<LLaMAConfig, "hiddenSize" | "numAttentionHeads" | "numKeyValueHeads">,
  h?: number,
): number {
  const { hiddenSize: E, numAttentionHeads: H, numKeyValueHeads = H } = config;
  const K = numKeyValueHeads * E / H;
  return Math.round(2 * ((h ?? 4 * E) + E - K) / 3);
}
