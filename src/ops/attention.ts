/**
 * Attention.
 *
 * @module
 */
import type { Tensor } from "../tensor/tensor.ts";
import { attend } from "./attend.ts";

/** Options of {@linkcode attention}. */
export interface AttentionOptions {
  /** A query sees no later key; the last query is aligned with the last key. Default: false. */
  readonly causal?: boolean;
  /**
   * Only so many of the first time steps of k and v exist, as in a cache with room for more. Default: all of
   * them. The others are not read and get a gradient of 0.
   */
  readonly keyLength?: number;
  /**
   * (B, keyLength), or (B, Tk) of which the first keyLength count, of `i32` or `u32`: 0 for keys that nobody may
   * see, as padding.
   */
  readonly keyValid?: Tensor;
  /**
   * (B) of `i32`, for sequences of unequal length: where the first query of each stands among its keys. For
   * causal attention without gradients. Default: all stand so that the last query is aligned with the last key.
   */
  readonly positions?: Tensor;
  /** Order of the axes: batch, heads, time, size (the default), or time before heads. */
  readonly layout?: "BHTD" | "BTHD";
  /** Factor of the scores. Default: 1 / sqrt(D). */
  readonly scale?: number;
}

/**
 * `softmax(scale q k^T) v` for each head, without ever storing the scores: queries q (B, H, Tq, D), keys k
 * and values v (B, Hkv, Tk, D) give (B, H, Tq, D). Hkv divides H; query head h uses key and value head
 * `floor(h / (H / Hkv))`. A query that may see no key gives zeros and no gradient.
 *
 * Throws a `TypeError` when shapes, device or dtype do not fit, a `RangeError` when keyLength is no length of k.
 * (Vaswani et al. 2017; grouped queries: Ainslie et al. 2023; computed by tiles as in Dao 2023,
 * "FlashAttention-2".)
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const { causal = false, ...rest } = options;
  return attend("attention", q, k, v, { ...rest, step: causal ? 1 : 0 });
}
