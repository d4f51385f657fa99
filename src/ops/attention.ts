/**
 * Attention.
 *
 * @module
 */
import { attentionParams } from "../../kernels/attention.ts";
import { launchAttentionBackward } from "../../kernels/attention_backward.ts";
import { attentionForward } from "../../kernels/attention_forward.ts";
import { zeros } from "../tensor/create.ts";
import { formatShape, sameShape, type Shape } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkIds, sameDevice, sameDType } from "./check.ts";

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
 * Throws a `TypeError` when shapes, device or dtype do not fit, a `RangeError` when keyLength is no length of k. (Vaswani et al. 2017; grouped queries:
 * Ainslie et al. 2023; computed by tiles as in Dao 2023, "FlashAttention-2".)
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const { causal = false, keyValid, layout = "BHTD", scale } = options;
  const device = sameDevice("attention", q, k, v, keyValid);
  checkFloat("attention", q, k, v);
  sameDType("attention", q, k, v);
  const [queries, keys] = sizesOf(q.shape, k.shape, v.shape, layout);
  const keyLength = checkKeyLength("attention", options.keyLength, keys.time);
  if (keyValid) checkKeyValid("attention", keyValid, queries.batch, keyLength, keys.time);
  const params = attentionParams({
    batch: queries.batch,
    heads: queries.heads,
    kv_heads: keys.heads,
    queries: queries.time,
    keys: keyLength,
    d: queries.size,
    ...strides("q", queries, layout),
    ...strides("k", keys, layout),
    ...strides("v", keys, layout),
    ...strides("o", queries, layout),
    ...keyValid && { valid_batch: keyValid.shape[1] },
    step: Number(causal),
    ...scale !== undefined && { scale },
  });
  const o = Tensor.empty(device, q.shape, q.dtype);
  // The log of each query's sum of exponentials, from which the backward pass finds its weights again, and
  // room for as many numbers of its own.
  const stats = Tensor.empty(device, [2, queries.batch, queries.heads, queries.time]);
  device.launch(attentionForward, { q, k, v, key_valid: keyValid, o, stats }, params);
  const saved = [q, k, v, o, stats, ...keyValid ? [keyValid] : []];
  record("attention", [q, k, v], o, saved, (grad_o, [q, k, v, o, stats, key_valid]) => {
    const grad_q = Tensor.empty(device, q.shape, q.dtype);
    // The kernels write the rows of the keys that exist.
    const [grad_k, grad_v] = [k, v].map((x) =>
      keyLength < keys.time
        ? zeros(x.shape, { device, dtype: x.dtype })
        : Tensor.empty(device, x.shape, x.dtype)
    );
    const bindings = { q, k, v, o, grad_o, key_valid, stats, grad_q, grad_k, grad_v };
    launchAttentionBackward(device, bindings, params);
    return [grad_q, grad_k, grad_v];
  });
  stats.dispose();
  return o;
}

/** The number of keys that exist, of `capacity`. Throws a `RangeError` when it is not within. */
export function checkKeyLength(
  op: string,
  keyLength: number | undefined,
  capacity: number,
): number {
  const length = keyLength ?? capacity;
  if (!Number.isInteger(length) || length < 0 || length > capacity) {
    throw new RangeError(`${op}: expected a keyLength from 0 to ${capacity} but got ${length}`);
  }
  return length;
}

/** Throws a `TypeError` unless keyValid has a flag for each key of each sequence. */
export function checkKeyValid(
  op: string,
  keyValid: Tensor,
  batch: number,
  keyLength: number,
  capacity: number,
): void {
  checkIds(op, keyValid);
  const lengths = keyLength === capacity ? [capacity] : [keyLength, capacity];
  if (lengths.some((length) => sameShape(keyValid.shape, [batch, length]))) return;
  throw new TypeError(
    `${op}: expected keyValid of shape ${
      lengths.map((length) => `[${batch}, ${length}]`).join(" or ")
    } but got ${formatShape(keyValid.shape)}`,
  );
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly time: number;
  readonly size: number;
}

/** The axes of the queries and of the keys by name. */
function sizesOf(q: Shape, k: Shape, v: Shape, layout: "BHTD" | "BTHD"): [Sizes, Sizes] {
  const named = ([batch, second, third, size]: Shape): Sizes =>
    layout === "BHTD"
      ? { batch, heads: second, time: third, size }
      : { batch, heads: third, time: second, size };
  const [queries, keys] = [named(q), named(k)];
  const fits = q.length === 4 && k.length === 4 && sameShape(k, v) &&
    queries.batch === keys.batch && queries.size === keys.size &&
    queries.heads % keys.heads === 0;
  if (!fits) {
    const kv = layout.replace("H", "Hkv");
    throw new TypeError(
      `attention: expected q (${
        [...layout].join(", ")
      }) and equal k and v (${kv}) whose Hkv divides H ` +
        `but got ${[q, k, v].map(formatShape).join(", ")}`,
    );
  }
  return [queries, keys];
}

/** Elements from one sequence, head and time step to the next, as the kernels name them. */
function strides<N extends "q" | "k" | "v" | "o">(
  name: N,
  { heads, time, size }: Sizes,
  layout: "BHTD" | "BTHD",
): Record<`${N}_batch` | `${N}_head` | `${N}_time`, number> {
  const [head, step] = layout === "BHTD" ? [time * size, size] : [size, heads * size];
  return {
    [`${name}_batch`]: heads * time * size,
    [`${name}_head`]: head,
    [`${name}_time`]: step,
  } as Record<`${N}_batch` | `${N}_head` | `${N}_time`, number>;
}
