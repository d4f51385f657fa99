/**
 * How the tokens of a language model attend to what came before.
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
import type { CachedKeys } from "./key_value_cache.ts";

/** Keys and values (B, Tk, Hkv, D) to attend to: just computed, or out of a cache. */
export type SeenKeys = Pick<CachedKeys, "keys" | "values"> & Partial<CachedKeys> & {
  /** (B, Tk), 0 for keys that nobody may see, as padding. */
  readonly keyValid?: Tensor | undefined;
};

/** A way to attend. Queries are (B, T, H, D): the last of them stands where the last key does. */
export interface AttentionPattern {
  /** What each query gets, (B, T, H, D); `dropout` is of the weights. */
  mix(queries: Tensor, seen: SeenKeys, dropout?: AttentionDropout): Tensor;
  /**
   * The same for a sequence that attends to itself, with queries, keys and values of H heads side by side, (B, T, 3 E):
   * (B, T, E). Left out where there is no faster way.
   */
  mixPacked?(qkv: Tensor, heads: number, dropout?: AttentionDropout): Tensor;
  /** The weights of {@linkcode AttentionPattern.mix} before dropout, (B, H, T, Tk), all stored. */
  weights(queries: Tensor, seen: SeenKeys): Tensor;
}

/** Every token sees itself and all before it. */
export const causalAttention: AttentionPattern = {
  ...causalPattern({}),
  mixPacked: (qkv, heads, dropout) => selfAttention(qkv, { heads, causal: true, dropout }),
};

/** Every token sees itself and those before it, `window` in all; scores are multiplied by `scale`. */
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

/** x (B, T, H D) by heads, (B, T, H, D). */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as [number, number, number];
  return reshape(x, [batch, length, heads, width / heads]);
}

/** Queries, keys and values of H heads, each (B, T, H, D), out of one tensor (B, T, 3 H D) that has them in this order. */
export function splitQueryKeyValue(
  x: Tensor,
  heads: number,
): [queries: Tensor, keys: Tensor, values: Tensor] {
  const parts = split(x, x.shape[2]! / 3, 2).map((part) => splitHeads(part, heads));
  return parts as [Tensor, Tensor, Tensor];
}
