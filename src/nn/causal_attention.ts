/**
 * How the tokens of a language model attend to what came before.
 *
 * @module
 */
import { attention } from "../ops/attention.ts";
import { attentionWeights } from "../ops/attention_weights.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { CachedKeys } from "./key_value_cache.ts";

/** Keys and values (B, Tk, Hkv, D) to attend to: just computed, or out of a cache. */
export type SeenKeys = Pick<CachedKeys, "keys" | "values"> & Partial<CachedKeys> & {
  /** (B, Tk), 0 for keys that nobody may see, as padding. */
  readonly keyValid?: Tensor;
};

/** A way to attend. Queries are (B, T, H, D): the last of them stands where the last key does. */
export interface AttentionPattern {
  /** What each query gets, (B, T, H, D). */
  mix(queries: Tensor, seen: SeenKeys): Tensor;
  /** The weights of {@linkcode AttentionPattern.mix}, (B, H, T, Tk), all stored. */
  weights(queries: Tensor, seen: SeenKeys): Tensor;
}

/** Every token sees itself and all before it. */
export const causalAttention: AttentionPattern = {
  mix: (queries, { keys, values, keyLength, starts: positions }) =>
    attention(queries, keys, values, { causal: true, layout: "BTHD", keyLength, positions }),
  weights: (queries, { keys, keyLength, starts: positions }) =>
    attentionWeights(queries, keys, { causal: true, layout: "BTHD", keyLength, positions }),
};
