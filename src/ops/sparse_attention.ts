/**
 * Sparse attention, as in GPT-3.
 *
 * @module
 */
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { add } from "./arithmetic.ts";
import { attend } from "./attend.ts";
import type { AttentionOptions } from "./attention.ts";
import { storedWeights } from "./stored_weights.ts";

/** Options of {@linkcode sparseAttention}. */
export interface SparseAttentionOptions
  extends Omit<AttentionOptions, "causal" | "keyValid" | "keyLength" | "positions"> {
  /** Positions of a block. */
  readonly blockSize: number;
  /**
   * Only so many of the first time steps of k and v exist, as in a cache with room for more; the last query is
   * aligned with the last of them. Default: all of them.
   */
  readonly keyLength?: number;
  /**
   * (B) of `i32`, for sequences of unequal length: where the first query of each stands among its keys. Without
   * gradients.
   */
  readonly positions?: Tensor;
}

/**
 * The sum of two causal attentions of its own softmax each: one over the keys of the query's own block of
 * `blockSize` positions, one over the last key of each block, at `blockSize - 1, 2 blockSize - 1, ...`; a query
 * before the first of those gets nothing from the second. Queries q (B, H, Tq, D), keys k and values v
 * (B, Hkv, Tk, D) give (B, H, Tq, D); any lengths. The work of a query is that of at most
 * `blockSize + Tk / blockSize` keys.
 *
 * Throws a `TypeError` when shapes, device or dtype do not fit, a `RangeError` for a blockSize below 1 or a keyLength
 * that is no length of k. (Brown et al. 2020, after the fixed pattern of Child et al. 2019, "Generating Long
 * Sequences with Sparse Transformers".)
 *
 * @example The third query sees itself, and the second key as the last of its block
 * ```ts
 * import { CpuDevice, sparseAttention, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[[[0], [0], [0]]]], { device });
 * using v = tensor([[[[1], [3], [10]]]], { device });
 * using y = sparseAttention(x, x, v, { blockSize: 2 });
 * // The first sees itself; the second (1 + 3) / 2 in its block and 3 at the block's end.
 * assert.deepEqual([...await y.data()], [1, 5, 13]);
 * ```
 */
export function sparseAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: SparseAttentionOptions,
): Tensor {
  return scoped(() => add(...sparseAttentionParts(q, k, v, options)));
}

/** The two attentions that {@linkcode sparseAttention} adds: over the own block, and over the ends of blocks. */
export function sparseAttentionParts(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: SparseAttentionOptions,
): [local: Tensor, column: Tensor] {
  const { blockSize, ...rest } = options;
  checkBlockSize("sparseAttention", blockSize);
  return [
    attend("sparseAttention", q, k, v, { ...rest, step: 1, block: blockSize }),
    attend("sparseAttention", q, k, v, { ...rest, step: blockSize }),
  ];
}

/**
 * The weights (B, H, Tq, Tk) with which {@linkcode sparseAttention} of the same arguments mixes the values, Tk being
 * keyLength where there is one: both softmaxes added, so that a row adds up to 2 once a block has ended. All of
 * them are stored, for pictures. Throws as {@linkcode sparseAttention}.
 */
export function sparseAttentionWeights(
  q: Tensor,
  k: Tensor,
  options: SparseAttentionOptions,
): Tensor {
  const { blockSize, ...rest } = options;
  checkBlockSize("sparseAttentionWeights", blockSize);
  return scoped(() => {
    const blockOf = (at: number) => Math.floor(at / blockSize);
    const [local, column] = storedWeights("sparseAttentionWeights", q, k, rest, [
      (position, key) => key <= position && blockOf(key) === blockOf(position),
      (position, key) => key <= position && blockOf(key + 1) > blockOf(key),
    ]);
    return add(local, column);
  });
}

function checkBlockSize(op: string, blockSize: number): void {
  if (!Number.isInteger(blockSize) || blockSize < 1) {
    throw new RangeError(`${op}: expected a blockSize of 1 or more but got ${blockSize}`);
  }
}
