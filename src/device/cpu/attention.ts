/**
 * Attention on the thread pool: one call for all batches and heads, never a T x T matrix in memory.
 *
 * @module
 */
import type { ThreadPool } from "./threads.ts";

/** Elements from one batch, head and time step to the next; the last axis is contiguous. */
export type AttentionStrides = readonly [batch: number, head: number, time: number];

/** Sizes, layouts and addresses of an attention; all tensors are float32 in the pool's memory. */
export interface AttentionOptions {
  /** Number of sequences. */
  batch: number;
  /** Query heads. */
  heads: number;
  /** Key and value heads, a divisor of `heads`: query head h uses h / (heads / kvHeads). `heads` when left out. */
  kvHeads?: number;
  /** Time steps of q and o. */
  queries: number;
  /** Time steps of k and v. */
  keys: number;
  /** Size of a head, 1 to 256. */
  d: number;
  /** Byte addresses of q, k, v and the output. */
  q: number;
  /** See `q`. */
  k: number;
  /** See `q`. */
  v: number;
  /** See `q`; written by the forward pass and read by the backward pass. */
  o: number;
  /** Byte address of [batch, heads, queries] logs of the sums of exponentials; the forward pass may go without (0). */
  lse: number;
  /** Byte address of int32 [batch, keys], 0 where a key may not be seen; 0 (the default) for none. */
  keyValid?: number | undefined;
  /** Elements from one batch of keyValid to the next; `keys` when left out. */
  validStride?: number;
  /** Strides of q and dq; contiguous [batch, heads, time, d] when left out. */
  qStrides?: AttentionStrides;
  /** Strides of k and dk. */
  kStrides?: AttentionStrides;
  /** Strides of v and dv. */
  vStrides?: AttentionStrides;
  /** Strides of o and dO. */
  oStrides?: AttentionStrides;
  /** Factor of the scores, 1 / sqrt(d) when left out. */
  scale?: number;
  /**
   * The key j stands at the position (j + 1) * step - 1, and a query sees those up to its own position: 1 for
   * ordinary causal attention. 0 (the default): it sees all keys.
   */
  step?: number;
  /** A query at position p sees no key before floor(p / block) * block; for a step of 1. 0 (the default): it does. */
  block?: number;
  /** The position of the first query; `keys - queries` when left out. */
  past?: number;
}

/** {@linkcode AttentionOptions} with what the backward pass adds. */
export interface AttentionBackwardOptions extends AttentionOptions {
  /** Byte address of the gradient of o. */
  dO: number;
  /** Byte addresses of the gradients, which are overwritten. */
  dq: number;
  /** See `dq`. */
  dk: number;
  /** See `dq`. */
  dv: number;
  /** Byte address of workspace for batch * heads * queries floats. */
  delta: number;
}

/** Most queries that one task may have. */
const MAX_QUERIES = 240;

/** Fewer queries than this go without packing. */
const MIN_QUERIES = 4;

/** Multiplications below which waking the other threads costs more than it gains. */
const SMALL = 32768;

/** Most query heads of a task that goes without packing. */
const MAX_GROUP = 256;

/** The arguments that both kernels share, after the addresses. */
function layout(options: AttentionOptions): number[] {
  const { heads, queries, keys, d } = options;
  const kvHeads = options.kvHeads ?? heads;
  if (heads % kvHeads !== 0) {
    throw new RangeError(`Attention: ${heads} heads cannot share ${kvHeads} key heads evenly`);
  }
  if (!(d >= 1 && d <= 256)) {
    throw new RangeError(`Attention: expected a head size from 1 to 256 but found ${d}`);
  }
  const qStrides = options.qStrides ?? [heads * queries * d, queries * d, d];
  const kStrides = options.kStrides ?? [kvHeads * keys * d, keys * d, d];
  const vStrides = options.vStrides ?? [kvHeads * keys * d, keys * d, d];
  const oStrides = options.oStrides ?? [heads * queries * d, queries * d, d];
  const scale = options.scale ?? 1 / Math.sqrt(d);
  // deno-fmt-ignore
  return [heads, kvHeads, queries, keys, d, ...qStrides, ...kStrides, ...vStrides, ...oStrides,
    options.validStride ?? keys, scale, options.step ?? 0, options.block ?? 0,
    options.past ?? keys - queries];
}

/**
 * o = softmax(scale * q k^T + mask) v, and lse for the backward pass. A query that sees no key gives 0 (and +inf in lse).
 * `pasts` is the byte address of int32 [batch], the `past` of each sequence where they differ.
 *
 * @throws {RangeError} If d is not 1 to 256 or heads is not a multiple of kvHeads.
 */
export function attention(
  pool: ThreadPool,
  options: AttentionOptions & { pasts?: number | undefined },
): void {
  const { batch, heads, queries, q, k, v, o, lse, keyValid = 0, pasts = 0 } = options;
  if (batch * heads * queries === 0) return;
  const shared = [q, k, v, o, lse, keyValid, ...layout(options), pasts];
  if (queries < MIN_QUERIES) {
    const { kvHeads = heads, keys, d } = options;
    const small = batch * heads * queries * keys * d < SMALL;
    const wanted = small ? 1 : Math.ceil(2 * pool.threads / batch);
    const maxHeads = Math.max(1, Math.floor(MAX_GROUP * kvHeads / heads));
    const groupHeads = Math.min(maxHeads, Math.ceil(kvHeads / wanted));
    const tasks = batch * Math.ceil(kvHeads / groupHeads);
    pool.run("attention_few", tasks, small ? tasks : 1, ...shared, groupHeads);
    return;
  }
  // Large blocks pack keys less often, small ones keep all threads busy.
  const maxBlocks = pool.threads === 1 ? 1 : Math.ceil(4 * pool.threads / (batch * heads));
  const wanted = Math.ceil(queries / maxBlocks / 20) * 20;
  const queryBlock = Math.max(60, Math.min(MAX_QUERIES, wanted));
  const tasks = batch * heads * Math.ceil(queries / queryBlock);
  pool.run("attention", tasks, 1, ...shared, queryBlock);
}

/**
 * dq, dk and dv of {@linkcode attention} from dO, o and lse, recomputing the weights tile by tile.
 *
 * @throws {RangeError} If d is not 1 to 256 or heads is not a multiple of kvHeads.
 */
export function attentionBackward(pool: ThreadPool, options: AttentionBackwardOptions): void {
  const { batch, heads, kvHeads = heads, q, k, v, o, lse, keyValid = 0 } = options;
  const { dO, dq, dk, dv, delta } = options;
  // deno-fmt-ignore
  pool.run("attention_backward", batch * kvHeads, 1, q, k, v, o, lse, keyValid, dO, dq, dk, dv, delta,
    ...layout(options));
}
