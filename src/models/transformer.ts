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
import type { NewPositions } from "../nn/key_value_cache.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { type ParameterOptions, Parameters } from "../nn/parameters.ts";
import { add, mul } from "../ops/arithmetic.ts";
import { notEqual } from "../ops/compare.ts";
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
import { DecoderLayer, EncoderLayer, glorot, maybeDrop } from "./transformer_layers.ts";
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

/**
 * An encoder-decoder Transformer of any size.
 *
 * @example Train on one pair of sentences, then translate it
 * ```ts
 * import { Adam, CpuDevice, generate, Scope, tensor, Transformer } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { sourceVocabSize: 9, targetVocabSize: 9, embedSize: 16, layers: 1, heads: 2 };
 * const model = new Transformer(sizes, { device });
 * using optimizer = new Adam(model.parameters(), { lr: 0.01 });
 * const ids = (row: number[]) => tensor([row], { device, dtype: "i32" });
 * const [sos, eos] = [2, 3];
 * using source = ids([4, 5, eos]);
 * for (let step = 0; step < 20; step++) {
 *   using _step = new Scope();
 *   model.loss(source, ids([sos, 8, 7, 6]), ids([8, 7, 6, eos])).backward();
 *   optimizer.step();
 *   optimizer.zeroGrad();
 * }
 * using translator = model.translator(source);
 * const options = { length: 8, temperature: 0, stopIds: [eos] };
 * const [translation] = await generate(translator, [[sos]], options);
 * assert.deepEqual([...translation.ids], [8, 7, 6, eos]);
 * ```
 */
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
