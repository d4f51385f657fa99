/**
 * The Transformer (Vaswani et al. 2017, "Attention Is All You Need"): an encoder reads a sentence, a decoder writes
 * its translation and looks at what the encoder made of it (cross-attention).
 *
 * By default norms stand before the sub-layers, as later work found easier to train (Xiong et al. 2020), the
 * activation is a GELU and the output matrix one of its own; `norm: "post"`, `activation: "relu"` and `tied` are
 * as in the paper.
 *
 * Sizes in the comments: B sentences, S tokens of the source, T of the target, E embedding, H heads of D = E / H,
 * V vocabulary of the target.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import type { SeenKeys } from "../nn/causal_attention.ts";
import { checkTokens } from "../nn/check_tokens.ts";
import type { ForwardOptions } from "../nn/forward_options.ts";
import type { LayerCache, NewPositions } from "../nn/key_value_cache.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { type ParameterOptions, Parameters } from "../nn/parameters.ts";
import { gelu, relu } from "../ops/activations.ts";
import { add, mul } from "../ops/arithmetic.ts";
import { attention } from "../ops/attention.ts";
import { attentionWeights } from "../ops/attention_weights.ts";
import { notEqual } from "../ops/compare.ts";
import { dropout } from "../ops/dropout.ts";
import { embedding } from "../ops/embedding.ts";
import { linear } from "../ops/linear.ts";
import { linearCrossEntropy } from "../ops/linear_cross_entropy.ts";
import { reshape } from "../ops/reshape.ts";
import { sinusoid } from "../ops/sinusoid.ts";
import { slice } from "../ops/slice.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Translator } from "./translator.ts";

/**
 * Where the norm of a sub-layer f stands: `pre` x + f(norm(x)), `post` norm(x + f(x)) as in the paper, or `branch`
 * x + norm(f(x)).
 */
export type NormPlace = "pre" | "post" | "branch";

/** The sizes of a Transformer. */
export interface TransformerConfig {
  /** Source ids run from 0 to this, exclusive. */
  readonly sourceVocabSize: number;
  /** V: target ids run from 0 to V - 1. */
  readonly targetVocabSize: number;
  /** E; even. */
  readonly embedSize: number;
  /** Layers of the encoder, and as many of the decoder. */
  readonly layers: number;
  /** H; divides E. */
  readonly heads: number;
  /** Width of the hidden layer of the feed-forward sub-layers. Default: 4 E. */
  readonly hiddenSize?: number;
  /** The longest sentence of either language. No parameter depends on it. Default: 512. */
  readonly contextSize?: number;
  /** Tokens with this id are not looked at, and as targets count for nothing. Default: 0. */
  readonly padId?: number;
  /** Where norms stand. `post` needs no norm at the end of either stack, and has none. Default: `pre`. */
  readonly norm?: NormPlace;
  /** The same for the encoder's feed-forward sub-layers alone. Default: `norm`. */
  readonly encoderFeedForwardNorm?: NormPlace;
  /** What stands between the two maps of a feed-forward sub-layer; the GELU is the exact one. Default: `gelu`. */
  readonly activation?: "gelu" | "relu";
  /**
   * Whether the target embedding is the output matrix too. Embeddings are then multiplied by sqrt(E) where they are
   * read, as in the paper, since one matrix cannot have the right size for both. Default: false.
   */
  readonly tied?: boolean;
  /** Probability of dropping an embedding or what a sub-layer gives in training. Default: 0. */
  readonly dropout?: number;
}

/** What the encoder made of the source. */
export interface Memory {
  /** (B, S, E). */
  readonly states: Tensor;
  /** (B, S), 0 where the source is padding. */
  readonly valid: Tensor;
}

/** How a sentence is read: {@linkcode ForwardOptions} without a cache. */
export type ReadOptions = Pick<ForwardOptions, "dropout" | "observe">;

/** Options of {@linkcode Transformer.loss}. */
export interface TranslationLossOptions extends ReadOptions {
  /** The part of the target distribution, 0 to 1, that is spread over the vocabulary. Default: 0. */
  readonly labelSmoothing?: number;
}

/** An encoder-decoder Transformer of any size. */
export class Transformer {
  /** The sizes, all filled in. */
  readonly config: Required<TransformerConfig>;
  readonly #parameters: Parameters;
  readonly #positions: Tensor; // (context, E), no parameter
  readonly #sourceTokens: Tensor; // (source V, E)
  readonly #encoder: EncoderLayer[];
  readonly #encoderNorm: LayerNorm | undefined;
  readonly #targetTokens: Tensor; // (V, E)
  readonly #decoder: DecoderLayer[];
  readonly #decoderNorm: LayerNorm | undefined;
  readonly #output: Tensor; // (V, E)
  readonly #outputBias: Tensor; // (V)

  /**
   * A model whose matrices start as Glorot and Bengio (2010) say, and whose embeddings have a standard deviation of 1
   * where they are read, like the sinusoids that are added to them. Throws a `RangeError` when the heads do not
   * divide the embedding, or that is odd.
   */
  constructor(config: TransformerConfig, options: ParameterOptions = {}) {
    this.config = withDefaults(config);
    const { sourceVocabSize, targetVocabSize, contextSize, embedSize, layers } = this.config;
    const { norm, tied } = this.config;
    const all = this.#parameters = new Parameters(options);
    const { device, dtype } = all;
    this.#positions = sinusoid(contextSize, embedSize, { device, dtype }).keep();

    const stack = <L>(p: Parameters, Layer: new (p: Parameters, c: typeof this.config) => L): L[] =>
      Array.from({ length: layers }, (_, i) => new Layer(p.at("layers").at(i), this.config));
    const finalNorm = (p: Parameters) =>
      norm === "post" ? undefined : new LayerNorm(p.at("final_norm"), embedSize);
    const tokens = (p: Parameters, size: number) =>
      p.at("embed").create("weight", [size, embedSize], { std: tied ? embedSize ** -0.5 : 1 });

    const encoder = all.at("encoder");
    this.#sourceTokens = tokens(encoder, sourceVocabSize);
    this.#encoder = stack(encoder, EncoderLayer);
    this.#encoderNorm = finalNorm(encoder);
    const decoder = all.at("decoder");
    this.#targetTokens = tokens(decoder, targetVocabSize);
    this.#decoder = stack(decoder, DecoderLayer);
    this.#decoderNorm = finalNorm(decoder);
    const out = decoder.at("out");
    this.#output = tied
      ? this.#targetTokens
      : out.create("weight", [targetVocabSize, embedSize], glorot(embedSize, targetVocabSize));
    this.#outputBias = out.create("bias", [targetVocabSize], { value: 0 });
  }

  /** Where it lives. */
  get device(): Device {
    return this.#sourceTokens.device;
  }

  /** The parameters by name. */
  parameters(): ReadonlyMap<string, Tensor> {
    return this.#parameters.all();
  }

  /** Number of parameters, tied ones counted once. */
  parameterCount(): number {
    return this.#parameters.count();
  }

  /** The encoder's residual stream after the embedding and after every layer, each (B, S, E), for ids (B, S). */
  encoderStates(sourceIds: Tensor, options: ReadOptions = {}): Tensor[] {
    checkTokens("Transformer source", sourceIds, this.config.contextSize);
    const valid = notEqual(sourceIds, this.config.padId);
    const states = [this.#embed(this.#sourceTokens, sourceIds, { start: 0 }, options)];
    this.#encoder.forEach((layer, i) => states.push(layer.forward(states[i], valid, options)));
    return states;
  }

  /** Reads the source, ids (B, S). */
  encode(sourceIds: Tensor, options: ReadOptions = {}): Memory {
    return scoped(() => {
      const last = this.encoderStates(sourceIds, options).at(-1)!;
      const states = this.#encoderNorm?.forward(last) ?? last;
      return { states, valid: notEqual(sourceIds, this.config.padId) };
    });
  }

  /** What the cross-attention of each layer of the decoder sees of the source. */
  sourceKeys({ states, valid }: Memory): SeenKeys[] {
    return this.#decoder.map((layer) => ({ ...layer.sourceKeys(states), keyValid: valid }));
  }

  /**
   * The decoder's residual stream after the embedding and after every layer, each (B, T, E), for ids (B, T) that
   * begin with <SOS>. Throws a `TypeError` when there are not as many sentences as in the source.
   */
  decoderStates(ids: Tensor, source: readonly SeenKeys[], options: ForwardOptions = {}): Tensor[] {
    checkTokens("Transformer target", ids, this.config.contextSize);
    const [sources] = source[0].keys.shape;
    if (ids.shape[0] !== sources) {
      throw new TypeError(
        `Transformer: expected ids of shape [${sources}, T] for ${sources} source sentences but got ` +
          formatShape(ids.shape),
      );
    }
    const { cache, lengths } = options;
    const positions = cache?.extend(ids.shape[1], lengths) ?? { start: 0 };
    // A cache knows by itself what is padding.
    const valid = cache ? undefined : notEqual(ids, this.config.padId);
    const states = [this.#embed(this.#targetTokens, ids, positions, options)];
    this.#decoder.forEach((layer, i) => {
      const seen = { source: source[i], valid, cache: cache?.layer(i) };
      states.push(layer.forward(states[i], seen, options));
    });
    return states;
  }

  /** Scores (..., V) from the decoder's last state (..., E): the final norm and the output layer. */
  scores(state: Tensor): Tensor {
    return scoped(() => linear(this.#finish(state), this.#output, this.#outputBias));
  }

  /**
   * Scores of every next token, (B, T, V), of translations whose tokens before are known ("teacher forcing"):
   * `sourceIds` (B, S), `decoderInputIds` (B, T), which is <SOS> and the translation without its last token.
   */
  logits(sourceIds: Tensor, decoderInputIds: Tensor, options: ReadOptions = {}): Tensor {
    return scoped(() => this.scores(this.#lastState(sourceIds, decoderInputIds, options)));
  }

  /**
   * The mean cross-entropy in nats of `targets` (B, T), the tokens that follow `decoderInputIds` (B, T), without those
   * that pad. Throws a `TypeError` when targets and inputs differ in shape.
   */
  loss(
    sourceIds: Tensor,
    decoderInputIds: Tensor,
    targets: Tensor,
    options: TranslationLossOptions = {},
  ): Tensor {
    if (!sameShape(targets.shape, decoderInputIds.shape)) {
      throw new TypeError(
        `Transformer: expected targets of the inputs' shape ${
          formatShape(decoderInputIds.shape)
        } but got ${formatShape(targets.shape)}`,
      );
    }
    return scoped(() => {
      const hidden = this.#finish(this.#lastState(sourceIds, decoderInputIds, options));
      return linearCrossEntropy(hidden, this.#output, targets, {
        bias: this.#outputBias,
        ignoreIndex: this.config.padId,
        labelSmoothing: options.labelSmoothing,
      });
    });
  }

  /**
   * Reads the source once, ids (B, S), for writing its translation token by token: what it returns decodes as a
   * language model does. Dispose of it at the end.
   */
  translator(sourceIds: Tensor): Translator {
    const source = noGrad(() => scoped(() => this.sourceKeys(this.encode(sourceIds))));
    return new Translator(this, source);
  }

  /** Frees the parameters. */
  dispose(): void {
    this.#positions.dispose();
    this.#parameters.dispose();
  }

  #lastState(sourceIds: Tensor, decoderInputIds: Tensor, options: ReadOptions): Tensor {
    const source = this.sourceKeys(this.encode(sourceIds, options));
    return this.decoderStates(decoderInputIds, source, options).at(-1)!;
  }

  #finish(state: Tensor): Tensor {
    return this.#decoderNorm?.forward(state) ?? state;
  }

  /** Embeddings plus sinusoids of their positions. */
  #embed(
    tokens: Tensor,
    ids: Tensor,
    { start, starts }: Pick<NewPositions, "start"> & Partial<NewPositions>,
    { dropout }: ReadOptions,
  ): Tensor {
    return scoped(() => {
      const [batch, length] = ids.shape;
      const positions = starts
        ? embedding(this.#positions, reshape(starts, [batch, 1]))
        : slice(this.#positions, [[start, start + length]]);
      const read = embedding(tokens, ids);
      const scaled = this.config.tied ? mul(read, Math.sqrt(this.config.embedSize)) : read;
      return maybeDrop(add(scaled, positions), this.config.dropout, dropout);
    });
  }
}

/** Self-attention over the source, then a feed-forward sub-layer. */
class EncoderLayer {
  readonly #attention: Attention;
  readonly #residual1: Residual;
  readonly #feedForward: FeedForward;
  readonly #residual2: Residual;

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
class DecoderLayer {
  readonly #residual1: Residual;
  readonly #selfAttention: Attention;
  readonly #residual2: Residual;
  readonly #crossAttention: Attention;
  readonly #residual3: Residual;
  readonly #feedForward: FeedForward;

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
interface Seen {
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
    { keys, values, keyLength, keyValid }: SeenKeys,
    { causal, observe }: { causal: boolean; observe?: ReadOptions["observe"] },
  ): Tensor {
    const query = this.#split(this.#query.forward(x));
    const options = { causal, keyLength, keyValid, layout: "BTHD" } as const;
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

function maybeDrop(x: Tensor, p: number, random: ReadOptions["dropout"]): Tensor {
  return random && p ? dropout(x, p, { random }) : x;
}

/** Keeps the size of activations and of gradients from layer to layer (Glorot and Bengio 2010). */
function glorot(inputs: number, outputs: number): { std: number } {
  return { std: Math.sqrt(2 / (inputs + outputs)) };
}

function withDefaults(config: TransformerConfig): Required<TransformerConfig> {
  const { sourceVocabSize, targetVocabSize, embedSize, layers, heads } = config;
  const { hiddenSize = 4 * embedSize, contextSize = 512, padId = 0, dropout = 0 } = config;
  const { norm = "pre", encoderFeedForwardNorm = norm } = config;
  const { activation = "gelu", tied = false } = config;
  if (embedSize % heads !== 0) {
    throw new RangeError(`Transformer: ${heads} heads do not divide an embedding of ${embedSize}`);
  }
  if (embedSize % 2 !== 0) {
    throw new RangeError(`Transformer: sinusoids need an even embedding, not one of ${embedSize}`);
  }
  return {
    ...{ sourceVocabSize, targetVocabSize, embedSize, layers, heads, hiddenSize, contextSize },
    ...{ padId, dropout, norm, encoderFeedForwardNorm, activation, tied },
  };
}
