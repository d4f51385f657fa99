/**
 * The Transformer (Vaswani et al. 2017, "Attention Is All You Need"): an encoder reads a sentence, and a decoder writes
 * its translation while attending to the encoder's output (cross-attention).
 *
 * By default, norms come before the sub-layers, which is easier to train (Xiong et al. 2020), the activation is a GELU
 * and the output matrix is separate. `norm: "post"`, `activationFunction: "relu"` and `tieWordEmbeddings` are as in the
 * paper.
 *
 * Sizes in the comments: B sentences, S source tokens, T target tokens, E hidden size, H heads of D = E / H, V target
 * vocabulary.
 *
 * @module
 */
import {
  checkTokens,
  Dropout,
  Embedding,
  type ForwardOptions,
  init,
  KeyValueCache,
  lastTokens,
  LayerNorm,
  Linear,
  Module,
  type NewPositions,
  type ParameterOptions,
  positionRows,
  type SeenKeys,
} from "../nn/mod.ts";
import type { Device } from "../device/device.ts";
import { add, linearCrossEntropy, mul, notEqual, sinusoid } from "../ops/mod.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { byName } from "./causal_lm.ts";
import {
  DecoderLayer,
  EncoderLayer,
  type LayerPass,
  type NormPlace,
  type TransformerConfig,
} from "./transformer_layers.ts";

export type { NormPlace, TransformerConfig };

type Config = Required<TransformerConfig>;

/** The output of the encoder. */
export interface Memory {
  /** (B, S, E). */
  readonly states: Tensor;
  /** (B, S), 0 where the source is padding. */
  readonly valid: Tensor;
}

/** Options of a forward pass: {@linkcode ForwardOptions} without a cache. */
export type ReadOptions = Pick<ForwardOptions, "dropout" | "observe">;

/** Options of {@linkcode Transformer.loss}. */
export interface TranslationLossOptions extends ReadOptions {
  /** The fraction of the target distribution, from 0 to 1, that is spread evenly over the vocabulary. Default: 0. */
  readonly labelSmoothing?: number | undefined;
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
 * const model = new Transformer({
 *   ...{ sourceVocabSize: 9, targetVocabSize: 9, hiddenSize: 16 },
 *   ...{ numHiddenLayers: 1, numAttentionHeads: 2 },
 * }, { device });
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
export class Transformer extends Module {
  /** The configuration, with all defaults filled in. */
  readonly config: Required<TransformerConfig>;
  /** Reads the source. */
  readonly encoder: Encoder;
  /** Writes the target. */
  readonly decoder: Decoder;
  /** The sinusoids of all positions, (maxPositionEmbeddings, E); not a parameter. */
  readonly positions: Tensor;
  /** The dropout of the embeddings. */
  readonly dropout: Dropout;

  /**
   * Creates a model with matrices initialised as in Glorot and Bengio (2010). Embeddings have a standard deviation of 1
   * when they are read, like the sinusoids added to them. Throws a `RangeError` if the heads do not divide the hidden
   * size, or if it is odd.
   */
  constructor(config: TransformerConfig, options?: ParameterOptions) {
    super();
    this.config = withDefaults(config);
    const { maxPositionEmbeddings, hiddenSize: E, dropout } = this.config;
    this.encoder = new Encoder(this.config, options ?? {});
    this.decoder = new Decoder(this.config, options ?? {});
    const { device, dtype } = this.encoder.embed.weight;
    this.positions = sinusoid(maxPositionEmbeddings, E, { device, dtype }).keep();
    this.dropout = new Dropout(dropout);
  }

  /**
   * Returns the encoder's residual stream after the embedding and after every layer, each (B, S, E), for ids (B, S).
   */
  encoderStates(sourceIds: Tensor, options?: ReadOptions): Tensor[] {
    checkTokens("Transformer source", sourceIds, this.config.maxPositionEmbeddings);
    const valid = notEqual(sourceIds, this.config.padTokenId);
    const pass = this.#pass(options ?? {});
    const states = [this.#embed(this.encoder.embed, sourceIds, { position: 0 }, pass)];
    this.encoder.layers.forEach((layer, i) => states.push(layer.forward(states[i]!, valid, pass)));
    return states;
  }

  /** Encodes the source, ids (B, S). */
  encode(sourceIds: Tensor, options?: ReadOptions): Memory {
    return scoped(() => {
      const last = this.encoderStates(sourceIds, options).at(-1)!;
      const states = this.encoder.final_norm?.forward(last) ?? last;
      return { states, valid: notEqual(sourceIds, this.config.padTokenId) };
    });
  }

  /** Returns what the cross-attention of each decoder layer sees of the source. */
  sourceKeys({ states, valid }: Memory): SeenKeys[] {
    return this.decoder.layers.map((layer) => ({
      ...layer.cross_attn.keys(states),
      keyValid: valid,
    }));
  }

  /**
   * Returns the decoder's residual stream after the embedding and after every layer, each (B, T, E), for ids (B, T)
   * that begin with <SOS>. Throws a `TypeError` if there are not as many sentences as in the source.
   */
  decoderStates(ids: Tensor, source: readonly SeenKeys[], options?: ForwardOptions): Tensor[] {
    checkTokens("Transformer target", ids, this.config.maxPositionEmbeddings);
    const [sources] = source[0]!.keys.shape;
    if (ids.shape[0] !== sources) {
      throw new TypeError(
        `Transformer: expected ids of shape [${sources}, T] for ${sources} source sentences but got ` +
          formatShape(ids.shape),
      );
    }
    const { cache, lengths } = options ?? {};
    const added = cache?.extend(ids.shape[1]!, lengths) ?? { position: 0 };
    // With a cache, the cache keeps track of padding.
    const valid = cache ? undefined : notEqual(ids, this.config.padTokenId);
    const pass = this.#pass(options ?? {});
    const states = [this.#embed(this.decoder.embed, ids, added, pass)];
    this.decoder.layers.forEach((layer, i) => {
      const seen = { source: source[i]!, valid, cache: cache?.layer(i) };
      states.push(layer.forward(states[i]!, seen, pass));
    });
    return states;
  }

  /** Returns the logits (..., V) of the decoder's last state (..., E): the final norm and the output matrix. */
  scores(state: Tensor): Tensor {
    return scoped(() => this.decoder.out.forward(this.#finish(state)));
  }

  /**
   * Returns the logits of every next token, (B, T, V), given the true previous tokens ("teacher forcing"): `sourceIds`
   * (B, S) and `decoderInputIds` (B, T), which is <SOS> and the translation without its last token.
   */
  logits(sourceIds: Tensor, decoderInputIds: Tensor, options?: ReadOptions): Tensor {
    return scoped(() => this.scores(this.#lastState(sourceIds, decoderInputIds, options ?? {})));
  }

  /**
   * Returns the mean cross-entropy, in nats, of `targets` (B, T), the tokens that follow `decoderInputIds` (B, T),
   * ignoring padding. Throws a `TypeError` if targets and inputs differ in shape.
   */
  loss(
    sourceIds: Tensor,
    decoderInputIds: Tensor,
    targets: Tensor,
    options?: TranslationLossOptions,
  ): Tensor {
    if (!sameShape(targets.shape, decoderInputIds.shape)) {
      throw new TypeError(
        `Transformer: expected targets of the inputs' shape ${
          formatShape(decoderInputIds.shape)
        } but got ${formatShape(targets.shape)}`,
      );
    }
    return scoped(() => {
      const hidden = this.#finish(this.#lastState(sourceIds, decoderInputIds, options ?? {}));
      return linearCrossEntropy(hidden, this.decoder.out.weight, targets, {
        bias: this.decoder.out.bias,
        ignoreIndex: this.config.padTokenId,
        labelSmoothing: options?.labelSmoothing,
      });
    });
  }

  /**
   * Encodes the source once, ids (B, S), to write its translation token by token. The result decodes like a language
   * model. Dispose of it at the end.
   */
  translator(sourceIds: Tensor): Translator {
    const source = noGrad(() => scoped(() => this.sourceKeys(this.encode(sourceIds))));
    return new Translator(this, source);
  }

  #lastState(sourceIds: Tensor, decoderInputIds: Tensor, options: ReadOptions): Tensor {
    const source = this.sourceKeys(this.encode(sourceIds, options));
    return this.decoderStates(decoderInputIds, source, options).at(-1)!;
  }

  #finish(state: Tensor): Tensor {
    return this.decoder.final_norm?.forward(state) ?? state;
  }

  #pass({ dropout, observe }: ReadOptions): LayerPass {
    return { dropout, observe: observe && byName(this, observe) };
  }

  /** Embeddings plus the sinusoids of their positions, (B, T, E). */
  #embed(table: Embedding, ids: Tensor, added: NewPositions, { dropout }: LayerPass): Tensor {
    return scoped(() => {
      let x = table.forward(ids);
      if (this.config.tieWordEmbeddings) x = mul(x, Math.sqrt(this.config.hiddenSize));
      x = add(x, positionRows(this.positions, ids.shape[1]!, added));
      return this.dropout.forward(x, dropout);
    });
  }
}

/**
 * Translations of B source sentences, decoded like the text of a language model: the first token of each is <SOS>. Keys
 * and values of the source are computed once. A cache holds them too, for each of its rows, so that a beam search only
 * has to reorder and repeat the rows of the cache. Created by {@linkcode Transformer.translator}.
 */
export class Translator implements Disposable {
  /** The vocabulary size and the maximum sentence length of the target. */
  readonly config: { readonly vocabSize: number; readonly maxPositionEmbeddings: number };
  /** The device of the model. */
  readonly device: Device;
  readonly #model: Transformer;
  readonly #source: readonly SeenKeys[];

  /** Keeps what the layers see of the source until it is disposed of. The model stays with its owner. */
  constructor(model: Transformer, source: readonly SeenKeys[]) {
    const { targetVocabSize: vocabSize, maxPositionEmbeddings } = model.config;
    this.config = { vocabSize, maxPositionEmbeddings };
    this.device = model.device;
    this.#model = model;
    this.#source = source;
    for (const { keys, values, keyValid } of source) {
      for (const tensor of [keys, values, keyValid]) tensor?.keep();
    }
  }

  /** The number of source sentences. */
  get batch(): number {
    return this.#source[0]!.keys.shape[0]!;
  }

  /** Returns an empty cache for one translation per sentence. Throws a `RangeError` for another number of rows. */
  createCache(rows?: number): KeyValueCache {
    const { batch } = this;
    if (rows !== undefined && rows !== batch) {
      throw new RangeError(
        `Translator: expected a cache of ${batch} rows, one a source sentence, but got ${rows}; ` +
          `KeyValueCache.select() makes more`,
      );
    }
    const { maxPositionEmbeddings: contextSize } = this.config;
    const { keys } = this.#source[0]!;
    const [, , kvHeads, headSize] = keys.shape as [number, number, number, number];
    const layers = this.#source.length;
    const { device } = this;
    const cache = new KeyValueCache({
      ...{ device, dtype: keys.dtype, batch, layers, kvHeads, headSize, contextSize },
    });
    this.#source.forEach(({ keys, values, keyValid }, i) => {
      cache.hold(`source.${i}.keys`, keys.alias());
      cache.hold(`source.${i}.values`, values.alias());
      if (i === 0) cache.hold("source.valid", keyValid!.alias());
    });
    return cache;
  }

  /**
   * Returns the logits of the token after the last one, (B, V), for ids (B, T) that begin with <SOS>. With a cache, the
   * ids continue from those it has read, and are added to it; `lengths` is the number of ids in each row that count. No
   * gradient flows.
   */
  nextLogits(ids: Tensor, options?: Pick<ForwardOptions, "cache" | "lengths">): Tensor {
    const { cache, lengths } = options ?? {};
    return noGrad(() =>
      scoped(() => {
        const source = cache ? this.#sourceOf(cache) : this.#source;
        const last = this.#model.decoderStates(ids, source, options).at(-1)!;
        return this.#model.scores(lastTokens(last, lengths));
      })
    );
  }

  /** Frees what was kept of the source. */
  dispose(): void {
    for (const { keys, values, keyValid } of this.#source) {
      for (const tensor of [keys, values, keyValid]) tensor?.dispose();
    }
  }

  /** The same as {@linkcode Translator.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #sourceOf(cache: KeyValueCache): SeenKeys[] {
    return this.#source.map((_, i) => {
      const [keys, values, keyValid] = [`${i}.keys`, `${i}.values`, "valid"].map((name) =>
        cache.held(`source.${name}`)
      );
      if (!keys || !values) {
        throw new TypeError(
          "Translator: expected a cache of Translator.createCache but got another",
        );
      }
      return { keys, values, keyValid };
    });
  }
}

/**
 * The parameters that read the source.
 *
 * @internal
 */
class Encoder extends Module {
  readonly embed: Embedding;
  readonly layers: readonly EncoderLayer[];
  readonly final_norm: LayerNorm | undefined;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { sourceVocabSize, hiddenSize: E, numHiddenLayers, norm } = config;
    this.embed = new Embedding(sourceVocabSize, E, { ...options, init: embeddingInit(config) });
    this.layers = Array.from({ length: numHiddenLayers }, () => new EncoderLayer(config, options));
    this.final_norm = norm === "post" ? undefined : new LayerNorm(E, options);
  }
}

/**
 * The parameters that write the target.
 *
 * @internal
 */
class Decoder extends Module {
  readonly embed: Embedding;
  readonly layers: readonly DecoderLayer[];
  readonly final_norm: LayerNorm | undefined;
  readonly out: Linear;

  constructor(config: Config, options: ParameterOptions) {
    super();
    const { targetVocabSize: V, hiddenSize: E, numHiddenLayers, norm } = config;
    const { weight } = this.embed = new Embedding(V, E, {
      ...options,
      init: embeddingInit(config),
    });
    this.layers = Array.from({ length: numHiddenLayers }, () => new DecoderLayer(config, options));
    this.final_norm = norm === "post" ? undefined : new LayerNorm(E, options);
    this.out = new Linear(E, V, {
      ...options,
      init: config.tieWordEmbeddings ? () => weight : init.xavierNormal(),
      bias: init.zeros,
    });
  }
}

function embeddingInit({ hiddenSize, tieWordEmbeddings }: Config): init.Initializer {
  return init.normal(tieWordEmbeddings ? hiddenSize ** -0.5 : 1);
}

function withDefaults(config: TransformerConfig): Config {
  const { hiddenSize, numAttentionHeads } = config;
  const { intermediateSize = 4 * hiddenSize, maxPositionEmbeddings = 512 } = config;
  const { padTokenId = 0, dropout = 0, attentionDropout = dropout } = config;
  const { tieWordEmbeddings = false } = config;
  const { norm = "pre", encoderFeedForwardNorm = norm, activationFunction = "gelu" } = config;
  if (hiddenSize % numAttentionHeads !== 0) {
    throw new RangeError(
      `Transformer: expected numAttentionHeads to divide hiddenSize but got ${numAttentionHeads} and ` +
        hiddenSize,
    );
  }
  if (hiddenSize % 2 !== 0) {
    throw new RangeError(`Transformer: expected an even hiddenSize but got ${hiddenSize}`);
  }
  return {
    ...config,
    ...{ intermediateSize, maxPositionEmbeddings, padTokenId, tieWordEmbeddings },
    ...{ dropout, attentionDropout, norm, encoderFeedForwardNorm, activationFunction },
  };
}
