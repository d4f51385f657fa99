/**
 * GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): a stack of pre-norm transformer
 * blocks with learned positions and an output matrix tied to the token embedding. Fields have the names of OpenAI's and
 * Hugging Face's files.
 *
 * Sizes in the comments: B sequences, T tokens, E hidden size, H heads of D = E / H, F intermediate size, V vocabulary.
 *
 * @module
 */
import {
  addTo,
  causalAttention,
  Dropout,
  Embedding,
  feedForwardOf,
  init,
  LayerNorm,
  Linear,
  Module,
  type ParameterOptions,
  positionRows,
  seenKeys,
  splitQueryKeyValue,
} from "../nn/mod.ts";
import { add, reshape } from "../ops/mod.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { CausalLM, type Pass } from "./causal_lm.ts";

/** The configuration of a GPT-2, under the names of Hugging Face's `config.json`. */
export interface GPT2Config {
  /** V, the vocabulary size: token ids run from 0 to V - 1. GPT-2's 50,257 are often padded to 50,304 for speed. */
  readonly vocabSize: number;
  /** The maximum length of a sequence. */
  readonly maxPositionEmbeddings: number;
  /** E, the width of the residual stream. */
  readonly hiddenSize: number;
  /** The number of blocks. */
  readonly numHiddenLayers: number;
  /** H, the number of attention heads; divides E. */
  readonly numAttentionHeads: number;
  /** F, the width inside the MLP. Default: 4 E. */
  readonly intermediateSize?: number;
  /** Added to the variance in every norm. Default: 1e-5. */
  readonly layerNormEpsilon?: number;
  /**
   * The probability of dropping an element of the embeddings or of an attention or MLP output, in training. Default: 0.
   */
  readonly dropout?: number;
  /** The probability of dropping an attention weight, in training. Default: `dropout`. */
  readonly attentionDropout?: number;
}

type Config = Required<GPT2Config>;

/** Causal self-attention over H heads. */
class SelfAttention extends Module {
  readonly c_attn: Linear;
  readonly c_proj: Linear;
  readonly dropout: Dropout;
  readonly heads: number;
  readonly attentionDropout: number;
  pattern = causalAttention;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, numAttentionHeads, dropout } = config;
    this.c_attn = new Linear(E, 3 * E, { ...options, ...START });
    this.c_proj = new Linear(E, E, { ...options, ...residualStart(config) });
    this.dropout = new Dropout(dropout);
    this.heads = numAttentionHeads;
    this.attentionDropout = config.attentionDropout;
  }

  /** Returns `residual` plus the layer's result, both (B, T, E). */
  forward(x: Tensor, pass: Pass, residual: Tensor): Tensor {
    const y = this.#mix(this.c_attn.forward(x), pass);
    const project = (residual?: Tensor) => this.c_proj.forward(y, residual);
    return addTo(residual, project, this.dropout, pass.dropout);
  }

  /** (B, T, 3 E) to (B, T, E) */
  #mix(qkv: Tensor, pass: Pass): Tensor {
    const { pattern, heads } = this;
    const { positions, cache, dropout, observe } = pass;
    const drop = dropout && { p: this.attentionDropout, random: dropout };
    if (pattern.mixPacked && !cache && !observe) {
      return pattern.mixPacked(qkv, heads, { positions, dropout: drop });
    }
    const [queries, keys, values] = splitQueryKeyValue(qkv, heads); // each (B, T, H, D)
    const seen = seenKeys(pass, keys, values);
    observe?.(pattern.weights(queries, seen), this); // (B, H, T, T)
    const y = pattern.mix(queries, seen, drop); // (B, T, H, D)
    return reshape(y, [...y.shape.slice(0, 2), qkv.shape[2]! / 3]);
  }
}

/** Two linear maps with a GELU between them. */
class MLP extends Module {
  readonly c_fc: Linear;
  readonly c_proj: Linear;
  readonly dropout: Dropout;
  activation: "gelu" | "geluTanh" = "geluTanh";

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, intermediateSize: F, dropout } = config;
    this.c_fc = new Linear(E, F, { ...options, ...START });
    this.c_proj = new Linear(F, E, { ...options, ...residualStart(config) });
    this.dropout = new Dropout(dropout);
  }

  /** Returns `residual` plus the layer's result, both (B, T, E). */
  forward(x: Tensor, { dropout }: Pass, residual: Tensor): Tensor {
    const { c_fc, c_proj, activation } = this;
    const map = (residual?: Tensor) => feedForwardOf(x, c_fc, c_proj, { activation, residual });
    return addTo(residual, map, this.dropout, dropout);
  }
}

/**
 * A block: attention, then an MLP, each of which adds to the residual stream.
 *
 * @internal
 */
class Block extends Module {
  readonly ln_1: LayerNorm;
  readonly attn: SelfAttention;
  readonly ln_2: LayerNorm;
  readonly mlp: MLP;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, layerNormEpsilon: eps } = config;
    this.ln_1 = new LayerNorm(E, { ...options, eps });
    this.attn = new SelfAttention(config, options);
    this.ln_2 = new LayerNorm(E, { ...options, eps });
    this.mlp = new MLP(config, options);
  }

  forward(x: Tensor, pass: Pass): Tensor {
    return scoped(() => {
      x = this.attn.forward(this.ln_1.forward(x), pass, x); // (B, T, E)
      return this.mlp.forward(this.ln_2.forward(x), pass, x); // (B, T, E)
    });
  }
}

/** GPT-2 of any size. */
export class GPT2 extends CausalLM<Required<GPT2Config>> {
  /** The configuration, with all defaults filled in. */
  readonly config: Required<GPT2Config>;
  /** The token embedding, (V, E), also the output matrix. */
  readonly wte: Embedding;
  /** The position embedding. */
  readonly wpe: Embedding;
  /** The dropout of the embeddings. */
  readonly drop: Dropout;
  /** The blocks. */
  readonly h: readonly Block[];
  /** The norm after the blocks. */
  readonly ln_f: LayerNorm;

  /**
   * Creates a model initialised like nanoGPT's and Hugging Face's: weights and positions from a normal distribution of
   * standard deviation 0.02, divided by sqrt(2 numHiddenLayers) in the maps that write into the residual stream; biases
   * are 0. (OpenAI's code uses 0.01 for positions.) Throws a `RangeError` if the heads do not divide the hidden size.
   */
  constructor(config: GPT2Config, options?: ParameterOptions) {
    super();
    const { vocabSize, maxPositionEmbeddings, hiddenSize: E, numHiddenLayers } = config;
    const { numAttentionHeads, layerNormEpsilon: eps = 1e-5, dropout = 0 } = config;
    const { intermediateSize = 4 * E, attentionDropout = dropout } = config;
    if (E % numAttentionHeads !== 0) {
      throw new RangeError(
        `GPT2: expected numAttentionHeads to divide hiddenSize but got ${numAttentionHeads} and ${E}`,
      );
    }
    const filled = { intermediateSize, layerNormEpsilon: eps, dropout, attentionDropout };
    this.config = { ...config, ...filled };
    const start = { ...options, init: init.normal(0.02) };
    this.wte = new Embedding(vocabSize, E, start);
    this.wpe = new Embedding(maxPositionEmbeddings, E, start);
    this.drop = new Dropout(dropout);
    this.h = Array.from({ length: numHiddenLayers }, () => new Block(this.config, options ?? {}));
    this.ln_f = new LayerNorm(E, { ...options, eps });
  }

  /** Token embeddings, plus position embeddings where the model has them, (B, T, E). */
  protected embed(ids: Tensor, pass: Pass): Tensor {
    const places = positionRows(this.wpe.weight, ids.shape[1]!, pass); // (T, E)
    return this.drop.forward(add(this.wte.forward(ids), places), pass.dropout); // (B, T, E)
  }

  /** The blocks. */
  protected get blocks(): readonly Block[] {
    return this.h;
  }

  /** The norm after the blocks. */
  protected get norm(): LayerNorm {
    return this.ln_f;
  }

  /** The output matrix, (V, E). */
  protected get head(): Tensor {
    return this.wte.weight;
  }
}

/** How linear maps are initialised. */
const START = { init: init.normal(0.02), bias: init.zeros };

/** The two maps of a block that write into the residual stream start smaller, so that it does not grow with depth. */
function residualStart({ numHiddenLayers }: Config): typeof START {
  return { ...START, init: init.normal(0.02 / Math.sqrt(2 * numHiddenLayers)) };
}
