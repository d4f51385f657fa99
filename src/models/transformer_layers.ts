/**
 * The configuration and the layers of the Transformer, which `transformer.ts` assembles.
 *
 * Sizes in the comments: B sentences, S source tokens, T target tokens, E hidden size, H heads of D = E / H, F
 * intermediate size.
 *
 * @module
 */
import {
  Dropout,
  feedForwardOf,
  init,
  type LayerCache,
  LayerNorm,
  Linear,
  Module,
  type ParameterOptions,
  type SeenKeys,
  splitHeads,
} from "../nn/mod.ts";
import { add, attention, attentionWeights, reshape } from "../ops/mod.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Pass } from "./causal_lm.ts";

/**
 * Where the norm of a sub-layer f is applied: `pre` is x + f(norm(x)), `post` is norm(x + f(x)) as in the paper, and
 * `branch` is x + norm(f(x)).
 */
export type NormPlace = "pre" | "post" | "branch";

/** The configuration of a Transformer. */
export interface TransformerConfig {
  /** The source vocabulary size: source ids run from 0 to this, exclusive. */
  readonly sourceVocabSize: number;
  /** V, the target vocabulary size: target ids run from 0 to V - 1. */
  readonly targetVocabSize: number;
  /** E, the width of the residual stream; even. */
  readonly hiddenSize: number;
  /** The number of encoder layers, and of decoder layers. */
  readonly numHiddenLayers: number;
  /** H, the number of attention heads; divides E. */
  readonly numAttentionHeads: number;
  /** F, the width inside the feed-forward sub-layers. Default: 4 E. */
  readonly intermediateSize?: number;
  /** The maximum length of a sentence in either language. No parameter depends on it. Default: 512. */
  readonly maxPositionEmbeddings?: number;
  /** The id of padding, which is not attended to and is ignored as a target. Default: 0. */
  readonly padTokenId?: number;
  /** Where norms are applied. With `post`, the stacks have no final norm, since they need none. Default: `pre`. */
  readonly norm?: NormPlace;
  /** Where the norm of the encoder's feed-forward sub-layers is applied. Default: `norm`. */
  readonly encoderFeedForwardNorm?: NormPlace;
  /** The activation function of the feed-forward sub-layers; the GELU is the exact one. Default: `gelu`. */
  readonly activationFunction?: "gelu" | "relu";
  /**
   * Whether the target embedding is also the output matrix. Embeddings are then multiplied by sqrt(E) when they are
   * read, as in the paper, since one matrix cannot have the right scale for both. Default: false.
   */
  readonly tieWordEmbeddings?: boolean;
  /** The probability of dropping an element of the embeddings or of a sub-layer's output, in training. Default: 0. */
  readonly dropout?: number;
  /** The probability of dropping an attention weight, in training. Default: `dropout`. */
  readonly attentionDropout?: number;
}

type Config = Required<TransformerConfig>;

/** What a forward pass hands to the layers. */
export type LayerPass = Pick<Pass, "dropout" | "observe">;

/** Self-attention over the source, then a feed-forward sub-layer. */
export class EncoderLayer extends Module {
  readonly norm1: LayerNorm;
  readonly self_attn: Attention;
  readonly norm2: LayerNorm;
  readonly ff: FeedForward;
  readonly dropout: Dropout;
  readonly places: readonly [attention: NormPlace, feedForward: NormPlace];

  constructor(config: Config, options: ParameterOptions) {
    super();
    this.norm1 = new LayerNorm(config.hiddenSize, options);
    this.self_attn = new Attention(config, options);
    this.norm2 = new LayerNorm(config.hiddenSize, options);
    this.ff = new FeedForward(config, options);
    this.dropout = new Dropout(config.dropout);
    this.places = [config.norm, config.encoderFeedForwardNorm];
  }

  /** x (B, S, E) and its mask (B, S), 0 for padding. */
  forward(x: Tensor, keyValid: Tensor, pass: LayerPass): Tensor {
    const drop = (x: Tensor) => this.dropout.forward(x, pass.dropout);
    return scoped(() => {
      x = residual(x, this.norm1, this.places[0], drop, (x) => {
        const seen = { ...this.self_attn.keys(x), keyValid };
        return this.self_attn.forward(x, seen, { causal: false, ...pass });
      });
      return residual(x, this.norm2, this.places[1], drop, (x) => this.ff.forward(x));
    });
  }
}

/** Causal self-attention over the target, attention over the source, then a feed-forward sub-layer. */
export class DecoderLayer extends Module {
  readonly norm1: LayerNorm;
  readonly self_attn: Attention;
  readonly norm2: LayerNorm;
  readonly cross_attn: Attention;
  readonly norm3: LayerNorm;
  readonly ff: FeedForward;
  readonly dropout: Dropout;
  readonly place: NormPlace;

  constructor(config: Config, options: ParameterOptions) {
    super();
    this.norm1 = new LayerNorm(config.hiddenSize, options);
    this.self_attn = new Attention(config, options);
    this.norm2 = new LayerNorm(config.hiddenSize, options);
    this.cross_attn = new Attention(config, options);
    this.norm3 = new LayerNorm(config.hiddenSize, options);
    this.ff = new FeedForward(config, options);
    this.dropout = new Dropout(config.dropout);
    this.place = config.norm;
  }

  /** x (B, T, E), and what it attends to. */
  forward(x: Tensor, { source, valid, cache }: Seen, pass: LayerPass): Tensor {
    const drop = (x: Tensor) => this.dropout.forward(x, pass.dropout);
    return scoped(() => {
      x = residual(x, this.norm1, this.place, drop, (x) => {
        const { keys, values } = this.self_attn.keys(x);
        const seen = cache?.append(keys, values) ?? { keys, values, keyValid: valid };
        return this.self_attn.forward(x, seen, { causal: true, ...pass });
      });
      x = residual(
        x,
        this.norm2,
        this.place,
        drop,
        (x) => this.cross_attn.forward(x, source, { causal: false, ...pass }),
      );
      return residual(x, this.norm3, this.place, drop, (x) => this.ff.forward(x));
    });
  }
}

/** What a decoder layer attends to besides its input. */
export interface Seen {
  /** The keys and values of the source. */
  readonly source: SeenKeys;
  /** A mask (B, T), 0 where the target is padding; undefined with a cache, which keeps track of it. */
  readonly valid: Tensor | undefined;
  /** The layer's part of the key-value cache. */
  readonly cache: LayerCache | undefined;
}

/** Attention over H heads, without biases. */
class Attention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly heads: number;
  readonly dropout: number;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, numAttentionHeads, attentionDropout } = config;
    const start = { ...options, bias: false, init: init.xavierNormal() };
    this.q_proj = new Linear(E, E, start);
    this.k_proj = new Linear(E, E, start);
    this.v_proj = new Linear(E, E, start);
    this.o_proj = new Linear(E, E, start);
    this.heads = numAttentionHeads;
    this.dropout = attentionDropout;
  }

  /** The keys and values (B, T, H, D) of x (B, T, E). */
  keys(x: Tensor): { keys: Tensor; values: Tensor } {
    return {
      keys: splitHeads(this.k_proj.forward(x), this.heads),
      values: splitHeads(this.v_proj.forward(x), this.heads),
    };
  }

  /** The attention's result for x (B, T, E), given the keys and values it sees. */
  forward(
    x: Tensor,
    { keys, values, keyLength, keyValid, positions }: SeenKeys,
    { causal, dropout: random, observe }: LayerPass & { readonly causal: boolean },
  ): Tensor {
    const queries = splitHeads(this.q_proj.forward(x), this.heads); // (B, T, H, D)
    const options = { causal, keyLength, keyValid, positions, layout: "BTHD" } as const;
    observe?.(attentionWeights(queries, keys, options), this);
    const dropout = random && { p: this.dropout, random };
    const y = attention(queries, keys, values, { ...options, dropout }); // (B, T, H, D)
    return this.o_proj.forward(reshape(y, x.shape)); // (B, T, E)
  }
}

/** Two linear layers with an activation between them. */
class FeedForward extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly activation: "gelu" | "relu";

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { hiddenSize: E, intermediateSize: F, activationFunction } = config;
    const start = { ...options, init: init.xavierNormal(), bias: init.zeros };
    this.fc1 = new Linear(E, F, start);
    this.fc2 = new Linear(F, E, start);
    this.activation = activationFunction;
  }

  forward(x: Tensor): Tensor {
    return feedForwardOf(x, this.fc1, this.fc2, { activation: this.activation });
  }
}

/** A sub-layer f with its residual connection and norm. See {@linkcode NormPlace}. */
function residual(
  x: Tensor,
  norm: LayerNorm,
  place: NormPlace,
  drop: (x: Tensor) => Tensor,
  f: (x: Tensor) => Tensor,
): Tensor {
  switch (place) {
    case "pre":
      return add(x, drop(f(norm.forward(x))));
    case "post":
      return norm.forward(add(x, drop(f(x))));
    case "branch":
      return add(x, drop(norm.forward(f(x))));
  }
}
