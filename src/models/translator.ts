/**
 * A Transformer that has read its source and writes the translation.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { type ForwardOptions, KeyValueCache, lastTokens, type SeenKeys } from "../nn/mod.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Transformer } from "./transformer.ts";

/**
 * Translations of B source sentences, decoded as the text of a language model is: the first token of each is <SOS>.
 * Keys and values of the source are computed once. A cache holds them too, for each of its rows, so that a beam search
 * can reorder and repeat the rows of the cache alone. {@linkcode Transformer.translator} makes one.
 */
export class Translator implements Disposable {
  /** The vocabulary and the longest sentence of the target. */
  readonly config: { readonly vocabSize: number; readonly maxPositionEmbeddings: number };
  /** Where it lives. */
  readonly device: Device;
  readonly #model: Transformer;
  readonly #source: readonly SeenKeys[];

  /** Keeps what the layers see of the source until it is disposed of; the model stays with its owner. */
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

  /** An empty cache for a translation of each sentence. Throws a `RangeError` for another number of them. */
  createCache(batch: number = this.batch): KeyValueCache {
    if (batch !== this.batch) {
      throw new RangeError(
        `Translator: expected a cache of ${this.batch} rows, one a source sentence, but got ${batch}; ` +
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
   * Scores of the token after the last one, (B, V), for ids (B, T) that begin with <SOS>. With a cache the ids go on
   * from those it has read, and are added to it; `lengths` tells how many ids of each row count. No gradient flows.
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
        throw new TypeError("Translator: the cache was not made by a translator");
      }
      return { keys, values, keyValid };
    });
  }
}
