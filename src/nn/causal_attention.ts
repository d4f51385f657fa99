/**
 * How the tokens of a language model attend to earlier ones.
 *
 * @module
 */
import {
  attention,
  type AttentionDropout,
  type AttentionOptions,
  attentionWeights,
  selfAttention,
} from "../ops/attention.ts";
import { reshape, split } from "../ops/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { CachedKeys, LayerCache, NewPositions } from "./key_value_cache.ts";

/** Keys and values (B, Tk, Hkv, D) to attend to, just computed or from a cache. */
export type SeenKeys = Pick<CachedKeys, "keys" | "values"> & Partial<CachedKeys> & {
  /** A mask (B, Tk), 0 for keys that no query may see, such as padding. */
  readonly keyValid?: Tensor | undefined;
};

/**
 * Returns what the new tokens of a forward pass attend to, given their keys and values (B, T, Hkv, D): all tokens of the
 * cache, to which they are added, or without one each other, but no other document.
 */
export function seenKeys(
  { cache, positions }: Pick<NewPositions, "positions"> & {
    readonly cache?: LayerCache | undefined;
  },
  keys: Tensor,
  values: Tensor,
): SeenKeys {
  return cache?.append(keys, values) ?? { keys, values, positions };
}

/** A way to attend. Queries are (B, T, H, D); the last query is aligned with the last key. */
export interface AttentionPattern {
  /** The result for each query, (B, T, H, D). `dropout` applies to the weights. */
  mix(queries: Tensor, seen: SeenKeys, dropout?: AttentionDropout): Tensor;
  /**
   * The same for self-attention with queries, keys and values of H heads side by side: (B, T, 3 E) gives (B, T, E).
   * Omitted where there is no faster way.
   */
  mixPacked?(
    qkv: Tensor,
    heads: number,
    options: Pick<AttentionOptions, "positions" | "dropout">,
  ): Tensor;
  /** The weights of {@linkcode AttentionPattern.mix} before dropout, (B, H, T, Tk). All of them are stored. */
  weights(queries: Tensor, seen: SeenKeys): Tensor;
}

/** Causal attention: each token sees itself and all earlier ones. */
export const causalAttention: AttentionPattern = {
  ...causalPattern({}),
  mixPacked: (qkv, heads, options) => selfAttention(qkv, { ...options, heads, causal: true }),
};

/**
 * Causal attention in which each token sees the last `window` tokens, itself included, with scores multiplied by
 * `scale`.
 */
export function causalPattern(
  options: Pick<AttentionOptions, "window" | "scale">,
): AttentionPattern {
  const common = { ...options, causal: true, layout: "BTHD" } as const;
  return {
    mix: (queries, { keys, values, keyLength, positions }, dropout) =>
      attention(queries, keys, values, { ...common, keyLength, positions, dropout }),
    weights: (queries, { keys, keyLength, positions }) =>
      attentionWeights(queries, keys, { ...common, keyLength, positions }),
  };
}

/** Splits x (B, T, H D) into heads, (B, T, H, D). */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as [number, number, number];
  return reshape(x, [batch, length, heads, width / heads]);
}

/** Splits one tensor (B, T, 3 H D) into queries, keys and values of H heads, each (B, T, H, D), in this order. */
export function splitQueryKeyValue(
  x: Tensor,
  heads: number,
): [queries: Tensor, keys: Tensor, values: Tensor] {
  const parts = split(x, x.shape[2]! / 3, 2).map((part) => splitHeads(part, heads));
  return parts as [Tensor, Tensor, Tensor];
}
