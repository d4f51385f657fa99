/**
 * What `attention` and `sparseAttention` share: checks, the launch over some of the keys, and its gradients.
 *
 * @module
 */
import { attentionParams } from "../../kernels/attention/attention.ts";
import { launchAttentionBackward } from "../../kernels/attention/attention_backward.ts";
import { attentionForward } from "../../kernels/attention/attention_forward.ts";
import { zeros } from "../tensor/create.ts";
import { formatShape, sameShape, type Shape } from "../tensor/shape.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { AttentionOptions } from "./attention.ts";
import { checkFloat, checkIds, sameDevice, sameDType } from "./check.ts";

/** The order of the axes of queries and keys. */
export type HeadLayout = "BHTD" | "BTHD";

/** What is seen; the rest as in {@linkcode AttentionOptions}. */
export interface AttendOptions extends Omit<AttentionOptions, "causal"> {
  /** Only the keys at `step - 1, 2 step - 1, ...` up to the query's position; 0: all keys. */
  readonly step: number;
  /** Only the keys of the query's own block of so many positions; with a step of 1. */
  readonly block?: number;
}

/**
 * Attention to the keys that `step` and `block` leave. `op` is the name for errors: a `TypeError` when shapes,
 * devices or dtypes do not fit, a `RangeError` for a keyLength that is none.
 */
export function attend(
  op: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttendOptions,
): Tensor {
  const { keyValid, positions, layout = "BHTD", scale, step, block = 0 } = options;
  const device = sameDevice(op, q, k, v, keyValid, positions);
  checkFloat(op, q, k, v);
  sameDType(op, q, k, v);
  const [queries, keys] = sizesOf(op, q.shape, k.shape, v.shape, layout);
  const keyLength = checkKeyLength(op, options.keyLength, keys.time);
  if (keyValid) checkKeyValid(op, keyValid, queries.batch, keyLength, keys.time);
  if (positions) checkPositions(op, positions, queries.batch, step > 0);
  if (positions && needsGrad([q, k, v])) {
    throw new Error(`${op}: no gradient flows where rows have their own positions; use noGrad`);
  }
  // Of several keys only the last is one.
  const every = Math.max(1, step);
  const kStrides = strides("k", keys, layout), vStrides = strides("v", keys, layout);
  const params = attentionParams({
    batch: queries.batch,
    heads: queries.heads,
    kvHeads: keys.heads,
    queries: queries.time,
    keys: Math.floor(keyLength / every),
    d: queries.size,
    ...strides("q", queries, layout),
    ...kStrides,
    ...vStrides,
    ...strides("o", queries, layout),
    kTime: kStrides.kTime * every,
    vTime: vStrides.vTime * every,
    kStart: kStrides.kTime * (every - 1),
    vStart: vStrides.vTime * (every - 1),
    ...keyValid && { validBatch: keyValid.shape[1] },
    position: keyLength - queries.time,
    step,
    block,
    ...scale !== undefined && { scale },
  });
  const o = Tensor.empty(device, q.shape, q.dtype);
  // The log of each query's sum of exponentials, from which the backward pass finds its weights again, and
  // room for as many numbers of its own.
  const stats = Tensor.empty(device, [2, queries.batch, queries.heads, queries.time]);
  const bindings = { q, k, v, keyValid: keyValid, positions: positions, o, stats };
  device.launch(attentionForward, bindings, params);
  const saved = [q, k, v, o, stats, ...keyValid ? [keyValid] : []];
  record(op, [q, k, v], o, saved, (dO, [q, k, v, o, stats, keyValid]) => {
    const dQ = Tensor.empty(device, q.shape, q.dtype);
    // The kernels write only the rows that are keys.
    const [dK, dV] = [k, v].map((x) =>
      params.keys < keys.time
        ? zeros(x.shape, { device, dtype: x.dtype })
        : Tensor.empty(device, x.shape, x.dtype)
    );
    const bindings = { q, k, v, o, dO, keyValid, stats, dQ, dK, dV };
    launchAttentionBackward(device, bindings, params);
    return [dQ, dK, dV];
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
  const shapes = lengths.map((length) => `[${batch}, ${length}]`).join(" or ");
  throw new TypeError(
    `${op}: expected keyValid of shape ${shapes} but got ${formatShape(keyValid.shape)}`,
  );
}

/** Throws a `TypeError` unless there is a position for each sequence, and order counts. */
export function checkPositions(
  op: string,
  positions: Tensor,
  batch: number,
  ordered: boolean,
): void {
  if (positions.dtype !== "i32" || !sameShape(positions.shape, [batch])) {
    throw new TypeError(`${op}: expected positions [${batch}] of i32 but got ${positions}`);
  }
  if (!ordered) throw new TypeError(`${op}: positions go with causal attention only`);
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly time: number;
  readonly size: number;
}

/** The axes of the queries and of the keys by name. */
function sizesOf(op: string, q: Shape, k: Shape, v: Shape, layout: HeadLayout): [Sizes, Sizes] {
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
      `${op}: expected q (${
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
  layout: HeadLayout,
): Record<`${N}${"Batch" | "Head" | "Time"}`, number> {
  const [head, step] = layout === "BHTD" ? [time * size, size] : [size, heads * size];
  return {
    [`${name}Batch`]: heads * time * size,
    [`${name}Head`]: head,
    [`${name}Time`]: step,
  } as Record<`${N}${"Batch" | "Head" | "Time"}`, number>;
}
