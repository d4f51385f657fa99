/**
 * The layers of the Transformer, which `transformer.ts` puts together.
 *
 * Sizes in the comments: B sentences, S tokens of the source, T of the target, E embedding, H heads of D = E / H.
 *
 * @module
 */
import type { SeenKeys } from "../nn/causal_attention.ts";
import type { LayerCache } from "../nn/key_value_cache.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import type { Parameters } from "../nn/parameters.ts";
import { gelu, relu } from "../ops/activations.ts";
import { add } from "../ops/arithmetic.ts";
import { attention } from "../ops/attention.ts";
import { attentionWeights } from "../ops/attention_weights.ts";
import { dropout } from "../ops/dropout.ts";
import { reshape } from "../ops/reshape.ts";
import type { RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NormPlace, ReadOptions, TransformerConfig } from "./transformer.ts";

/** Self-attention over the source, then a feed-forward sub-layer. */
export class EncoderLayer {
  readonly #residual1: Residual;
  readonly #attention: Attention;
  readonly #residual2: Residual;
  readonly #feedForward: FeedForward;

  /** Creates `norm1`, `self_attn`, `norm2` and `ff`. */
  constructor(p: Parameters, config: Required<TransformerConfig>) {
    this.#residual1 = new Residual(p.at("norm1"), config);
    this.#attention = new Attention(p.at("self_attn"), config);
    this.#residual2 = new Residual(p.at("norm2"), config, config.encoderFeedForwardNorm);
    this.#feedForward = new FeedForward(p.at("ff"), config);
  }

  /** x (B, S, E), and which of its tokens are not padding (B, S). */
  forward(x: Tensor, keyValid: Tensor, options: ReadOptions): Tensor {
    return scoped(() => {
      x = this.#residual1.forward(x, options, (x) => {
        const seen = { ...this.#attention.keys(x), keyValid };
        return this.#attention.forward(x, seen, { causal: false, ...options });
      });
      return this.#residual2.forward(x, options, (x) => this.#feedForward.forward(x));
    });
  }
}

/** Causal self-attention over the target, attention over the source, then a feed-forward sub-layer. */
export class DecoderLayer {
  readonly #residual1: Residual;
  readonly #selfAttention: Attention;
  readonly #residual2: Residual;
  readonly #crossAttention: Attention;
  readonly #residual3: Residual;
  readonly #feedForward: FeedForward;

  /** Creates `norm1`, `self_attn`, `norm2`, `cross_attn`, `norm3` and `ff`. */
  constructor(p: Parameters, config: Required<TransformerConfig>) {
    this.#residual1 = new Residual(p.at("norm1"), config);
    this.#selfAttention = new Attention(p.at("self_attn"), config);
    this.#residual2 = new Residual(p.at("norm2"), config);
    this.#crossAttention = new Attention(p.at("cross_attn"), config);
    this.#residual3 = new Residual(p.at("norm3"), config);
    this.#feedForward = new FeedForward(p.at("ff"), config);
  }

  /** What the cross-attention looks at, from the memory (B, S, E). */
  sourceKeys(memory: Tensor): Pick<SeenKeys, "keys" | "values"> {
    return this.#crossAttention.keys(memory);
  }

  /** x (B, T, E), and what it may look at. */
  forward(x: Tensor, { source, valid, cache }: Seen, options: ReadOptions): Tensor {
    return scoped(() => {
      x = this.#residual1.forward(x, options, (x) => {
        const { keys, values } = this.#selfAttention.keys(x);
        const seen = cache?.append(keys, values) ?? { keys, values, keyValid: valid };
        return this.#selfAttention.forward(x, seen, { causal: true, ...options });
      });
      x = this.#residual2.forward(
        x,
        options,
        (x) => this.#crossAttention.forward(x, source, { causal: false, ...options }),
      );
      return this.#residual3.forward(x, options, (x) => this.#feedForward.forward(x));
    });
  }
}

/** What a layer of the decoder looks at beside its input. */
export interface Seen {
  /** Keys and values of the source. */
  readonly source: SeenKeys;
  /** Which tokens of the target are not padding, (B, T), where no cache knows it. */
  readonly valid: Tensor | undefined;
  /** Where keys and values of earlier tokens are. */
  readonly cache: LayerCache | undefined;
}

/** Attention over H heads, without biases. */
class Attention {
  readonly #name: string;
  readonly #heads: number;
  readonly #query: Linear;
  readonly #key: Linear;
  readonly #value: Linear;
  readonly #output: Linear;

  constructor(p: Parameters, { embedSize, heads }: Required<TransformerConfig>) {
    this.#name = p.name;
    this.#heads = heads;
    const map = (name: string) =>
      new Linear(p.at(name), embedSize, embedSize, {
        bias: false,
        initial: glorot(embedSize, embedSize),
      });
    this.#query = map("q_proj");
    this.#key = map("k_proj");
    this.#value = map("v_proj");
    this.#output = map("o_proj");
  }

  /** Keys and values (B, T, H, D) of x (B, T, E). */
  keys(x: Tensor): { keys: Tensor; values: Tensor } {
    return {
      keys: this.#split(this.#key.forward(x)),
      values: this.#split(this.#value.forward(x)),
    };
  }

  /** What the tokens of x (B, T, E) get from what they see. */
  forward(
    x: Tensor,
    { keys, values, keyLength, keyValid, starts: positions }: SeenKeys,
    { causal, observe }: { causal: boolean; observe?: ReadOptions["observe"] },
  ): Tensor {
    const query = this.#split(this.#query.forward(x));
    const options = { causal, keyLength, keyValid, positions, layout: "BTHD" } as const;
    observe?.(attentionWeights(query, keys, options), this.#name);
    const mixed = attention(query, keys, values, options);
    return this.#output.forward(reshape(mixed, x.shape));
  }

  #split(x: Tensor): Tensor {
    const [batch, length, embedSize] = x.shape;
    return reshape(x, [batch, length, this.#heads, embedSize / this.#heads]);
  }
}

/** Two linear layers with an activation between them. */
class FeedForward {
  readonly #up: Linear;
  readonly #activation: (x: Tensor) => Tensor;
  readonly #down: Linear;

  constructor(p: Parameters, { embedSize, hiddenSize, activation }: Required<TransformerConfig>) {
    const initial = glorot(embedSize, hiddenSize);
    this.#up = new Linear(p.at("fc1"), embedSize, hiddenSize, { initial });
    this.#activation = activation === "relu" ? relu : (x) => gelu(x);
    this.#down = new Linear(p.at("fc2"), hiddenSize, embedSize, { initial });
  }

  forward(x: Tensor): Tensor {
    return this.#down.forward(this.#activation(this.#up.forward(x)));
  }
}

/** The way around a sub-layer, and its norm; see {@linkcode NormPlace}. */
class Residual {
  readonly #norm: LayerNorm;
  readonly #place: NormPlace;
  readonly #dropout: number;

  constructor(p: Parameters, config: Required<TransformerConfig>, place = config.norm) {
    this.#norm = new LayerNorm(p, config.embedSize);
    this.#place = place;
    this.#dropout = config.dropout;
  }

  forward(x: Tensor, { dropout }: ReadOptions, subLayer: (x: Tensor) => Tensor): Tensor {
    const norm = (x: Tensor) => this.#norm.forward(x);
    const drop = (x: Tensor) => maybeDrop(x, this.#dropout, dropout);
    switch (this.#place) {
      case "pre":
        return add(x, drop(subLayer(norm(x))));
      case "post":
        return norm(add(x, drop(subLayer(x))));
      case "branch":
        return add(x, drop(norm(subLayer(x))));
    }
  }
}

/** Drops elements of x with probability p, where random numbers are given. */
export function maybeDrop(x: Tensor, p: number, random: RandomState | undefined): Tensor {
  return random && p ? dropout(x, p, { random }) : x;
}

/** Keeps the size of activations and of gradients from layer to layer (Glorot and Bengio 2010). */
export function glorot(inputs: number, outputs: number): { std: number } {
  return { std: Math.sqrt(2 / (inputs + outputs)) };
}
