/**
 * Options of a model's forward pass.
 *
 * @module
 */
import type { RandomState } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { KeyValueCache } from "./key_value_cache.ts";

/** Options of a model's forward pass. */
export interface ForwardOptions {
  /** The random stream for dropout, in models that have it. Without it, nothing is dropped. */
  readonly dropout?: RandomState | undefined;
  /** The key-value cache of the tokens read so far. The ids continue from there and are added to it. */
  readonly cache?: KeyValueCache | undefined;
  /**
   * The position of each token in its document, (B, T) of `i32`, where a row consists of several documents one after
   * another: each begins again at 0. A token sees only its own document. Not together with `cache`. Default: a row is
   * one document.
   */
  readonly positions?: Tensor | undefined;
  /** The number of ids in each row that count, where a cache is filled with rows padded on the right. */
  readonly lengths?: readonly number[];
  /**
   * Called with the weights (B, H, Tq, Tk) of every attention and the name of its layer. The weights are stored only
   * for this, and freed with the current scope unless kept.
   */
  readonly observe?: AttentionObserver | undefined;
  /**
   * Whether to keep only the input of each block for the backward pass, which recomputes the rest (see `recompute`).
   * Not together with `cache` or `observe`.
   */
  readonly recompute?: boolean | undefined;
}

/** Receives attention weights. */
export type AttentionObserver = (weights: Tensor, name: string) => void;
