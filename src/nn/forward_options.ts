/**
 * Options of a model's forward pass.
 *
 * @module
 */
import type { RandomState } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { KeyValueCache } from "./key_value_cache.ts";

/** How a model reads its tokens. */
export interface ForwardOptions {
  /** Drops activations with these random numbers, where the model has dropout; left out: no dropout. */
  readonly dropout?: RandomState | undefined;
  /** What was read before: the ids go on from there, and are added to it. */
  readonly cache?: KeyValueCache | undefined;
  /** How many ids of each row count, where a cache is filled with rows padded on the right. */
  readonly lengths?: readonly number[];
  /**
   * Is given the weights (B, H, Tq, Tk) of every attention, under the name of the layer. They are stored only
   * for this, and freed with the scope they are made in unless they are kept.
   */
  readonly observe?: AttentionObserver | undefined;
  /**
   * Keeps only what goes into each block for the backward pass, which computes the rest anew (see `recompute`).
   * Not together with `cache` or `observe`.
   */
  readonly recompute?: boolean | undefined;
}

/** Looks at the weights of attention. */
export type AttentionObserver = (weights: Tensor, name: string) => void;
