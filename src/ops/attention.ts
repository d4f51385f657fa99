/**
 * Attention, sparse attention, and the attention weights of both.
 *
 * @module
 */
import {
  type AttentionParams,
  attentionParams,
  type PartialAttentionParams,
  randomNumbers,
} from "../../kernels/attention/attention.ts";
import { launchAttentionBackward } from "../../kernels/attention/attention_backward.ts";
import {
  attentionForward,
  attentionForwardInt8,
} from "../../kernels/attention/attention_forward.ts";
import { BYTES } from "../device/dtype.ts";
import { DeviceError } from "../device/errors.ts";
import { int8Words } from "../device/quantised.ts";
import { arange, tensor, zeros } from "../tensor/create.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, sameShape, type Shape } from "../tensor/shape.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import {
  checkDocuments,
  checkFloat,
  checkIds,
  checkProbability,
  checkRank,
  sameDevice,
  sameDType,
} from "./check.ts";
import { add, equal, less, maskedFill, mul, sub } from "./elementwise.ts";
import { embedding } from "./index.ts";
import { part } from "./launch.ts";
import { matmul } from "./matmul.ts";
import { permute, reshape, slice } from "./shape.ts";
import { softmax } from "./softmax.ts";

/** Dropout of the attention weights, for training. */
export interface AttentionDropout {
  /** The probability of dropping a weight, in [0, 1). */
  readonly p: number;
  /** The random stream to draw from. Default: the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/** Options of {@linkcode attention}. */
export interface AttentionOptions {
  /** Whether a query may not see later keys. The last query is aligned with the last key. Default: false. */
  readonly causal?: boolean;
  /**
   * The number of most recent keys that a query sees, its own position included. Requires `causal` (Beltagy et al.
   * 2020, "Longformer"). Default: all keys.
   */
  readonly window?: number | undefined;
  /**
   * The number of leading time steps of k and v that exist, as in a cache with spare capacity. The others are not read,
   * and their gradient is 0. Default: all of them.
   */
  readonly keyLength?: number | undefined;
  /**
   * A mask (B, keyLength) of `i32` or `u32`, 0 for keys that no query may see, such as padding. It may also be (B, Tk),
   * of which the first `keyLength` columns are used.
   */
  readonly keyValid?: Tensor | undefined;
  /**
   * For causal attention, of `i32`. (B): the position of each sequence's first query among its keys, where sequences are
   * of unequal length; without gradients. (B, T): the position of each token in its document, counted from 0, where a
   * sequence consists of several documents one after another; a query sees the keys of its own document only, and costs
   * no more. That takes as many keys as queries, and no `keyValid`. Default: the last query is aligned with the last key.
   */
  readonly positions?: Tensor | undefined;
  /** The order of the axes: batch, heads, time, size, or time before heads. Default: `BHTD`. */
  readonly layout?: "BHTD" | "BTHD";
  /** The factor that scores are multiplied by. Default: 1 / sqrt(D). */
  readonly scale?: number | undefined;
  /**
   * Sets each weight to 0 with probability p after the softmax, and divides the others by 1 - p. The mask is not
   * stored: the backward pass draws it again. Each row of weights takes `4 ceil(keys / 4)` random numbers of the
   * stream, row by row. Default: none.
   */
  readonly dropout?: AttentionDropout | undefined;
}

/**
 * Returns `softmax(scale q k^T) v` for each head, without storing the scores: queries q (B, H, Tq, D), keys k and
 * values v (B, Hkv, Tk, D) give (B, H, Tq, D). Hkv divides H, and query head h uses key and value head
 * `floor(h / (H / Hkv))`. A query that sees no key gives zeros, and no gradient. Without gradients, k and v may be those
 * of a smaller cache: `f16` while q is `f32`, or `int8`, as `KeyValueCache` keeps them: in `u32`, `ceil(D / 4) + 1` words
 * instead of D elements.
 *
 * Throws a `TypeError` if shapes, devices or dtypes do not match, and a `RangeError` if `keyLength` is not a length of
 * k, `window` is below 1, or a probability is not in [0, 1). (Vaswani et al. 2017; grouped queries: Ainslie et al.
 * 2023; tiling as in Dao 2023, "FlashAttention-2".)
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options?: AttentionOptions,
): Tensor {
  const { causal = false, ...rest } = options ?? {};
  checkWindow("attention", options);
  return attend("attention", q, k, v, { ...rest, step: causal ? 1 : 0 });
}

/** Options of {@linkcode selfAttention}. */
export interface SelfAttentionOptions
  extends Pick<AttentionOptions, "causal" | "scale" | "dropout"> {
  /** H, the number of heads of queries, keys and values alike. */
  readonly heads: number;
  /** The position of each token in its document, (B, T) of `i32`, as in {@linkcode attention}. */
  readonly positions?: Tensor | undefined;
}

/**
 * Self-attention of one packed tensor: qkv (B, T, 3 E), with queries, keys and values side by side, each of H heads of
 * size E / H, gives (B, T, E). Otherwise like {@linkcode attention}. Nothing is copied: the parts are read in place,
 * and their gradients are written the same way.
 *
 * Throws a `TypeError` for other shapes and dtypes, and a `RangeError` if a probability is not in [0, 1).
 *
 * @example A token that sees itself alone gets its own value
 * ```ts
 * import { CpuDevice, selfAttention, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using qkv = tensor([[[1, 2, 3, 4, 5, 6]]], { device });
 * using y = selfAttention(qkv, { heads: 2 });
 * assert.deepEqual(await y.toArray(), [[[5, 6]]]);
 * ```
 */
export function selfAttention(qkv: Tensor, options: SelfAttentionOptions): Tensor {
  const op = "selfAttention";
  checkFloat(op, qkv);
  checkRank(op, qkv, 3, "queries, keys and values (B, T, 3 E)");
  const { heads, causal = false, scale, dropout, positions } = options;
  const { dtype, shape } = qkv;
  const device = sameDevice(op, qkv, positions);
  const [batch, time, columns] = shape as readonly [number, number, number];
  if (!(Number.isInteger(heads) && heads >= 1 && columns % (3 * heads) === 0)) {
    throw new TypeError(
      `${op}: expected a last axis that 3 times ${heads} heads divide but got ${
        formatShape(qkv.shape)
      }`,
    );
  }
  if (positions) checkPositions(op, positions, [[batch, time]], causal);
  else if (causal) checkDocuments(op);
  const width = columns / 3, d = width / heads;
  const parts = sequencesThatBind(op, qkv, positions).map(([first, batch]) => {
    const params = attentionParams({
      ...{ batch, heads, queries: time, keys: time, d, kStart: width, vStart: 2 * width },
      ...{ qBatch: time * columns, qHead: d, qTime: columns },
      ...{ kBatch: time * columns, kHead: d, kTime: columns },
      ...{ vBatch: time * columns, vHead: d, vTime: columns },
      ...{ oBatch: time * width, oHead: d, oTime: width },
      step: causal ? 1 : 0,
      documents: positions ? 1 : 0,
      ...scale !== undefined && { scale },
      ...drawn(op, dropout, { batch, heads, queries: time, keys: time }),
    });
    const packed = (x: Tensor) => part(x, first * time * columns, batch * time * columns);
    const mixed = (x: Tensor) => part(x, first * time * width, batch * time * width);
    const masked = (x: Tensor | undefined) => x && part(x, first * time, batch * time);
    return { params, packed, mixed, masked, lse: Tensor.empty(device, [2, batch, heads, time]) };
  });
  const o = Tensor.empty(device, [batch, time, width], dtype);
  for (const { params, packed, mixed, masked, lse } of parts) {
    const [q, k, v] = [packed(qkv), packed(qkv), packed(qkv)];
    const mask = masked(positions);
    device.launch(attentionForward, { q, k, v, mask, o: mixed(o), lse }, params);
  }
  const saved = [qkv, o, positions, ...parts.map(({ lse }) => lse)];
  record(op, [qkv], o, saved, (dO, [qkv, o, positions, ...lses]) => {
    const dQkv = Tensor.empty(device, shape, dtype);
    parts.forEach(({ params, packed, mixed, masked }, i) => {
      const [q, k, v] = [packed(qkv!), packed(qkv!), packed(qkv!)];
      const [mask, lse] = [masked(positions), lses[i]!];
      const bindings = { q, k, v, mask, o: mixed(o!), dO: mixed(dO), lse, dQ: packed(dQkv) };
      launchAttentionBackward(device, bindings, params);
    });
    return [dQkv];
  });
  for (const { lse } of parts) lse.dispose();
  return o;
}

/** Runs of sequences (first, count) short enough for the device to bind their queries, keys and values together. */
function sequencesThatBind(
  op: string,
  { device, dtype, shape }: Tensor,
  positions: Tensor | undefined,
): [number, number][] {
  const [batch, time, columns] = shape as readonly [number, number, number];
  // A run must start where a binding may begin. The outputs are a third as wide as the inputs.
  const unit = BYTES[dtype] * time * columns / 3;
  const aligns = (bytes: number) => bytes % device.bindingAlignment === 0;
  const fits = (count: number) =>
    3 * unit * count <= device.maxBindingBytes &&
    (count === batch || aligns(unit * count) && (!positions || aligns(4 * time * count)));
  let run = batch;
  while (run > 0 && !fits(run)) run--;
  if (run === 0 && batch > 0) {
    throw new DeviceError(
      `${op}: expected sequences of at most ${device.maxBindingBytes} bytes, which ${device.description} can ` +
        `bind, but got ${formatShape(shape)} in ${dtype}`,
    );
  }
  const runs: [number, number][] = [];
  for (let first = 0; first < batch; first += run) runs.push([first, Math.min(run, batch - first)]);
  return runs;
}

/** Options of {@linkcode sparseAttention}. */
export interface SparseAttentionOptions
  extends Omit<AttentionOptions, "causal" | "window" | "keyValid"> {
  /** The number of positions in a block. */
  readonly blockSize: number;
}

/**
 * Returns the sum of two causal attentions, each with its own softmax: one over the keys of the query's own block of
 * `blockSize` positions, one over the last key of each block (positions `blockSize - 1`, `2 blockSize - 1`, ...). A
 * query before the first of those gets nothing from the second attention. Queries q (B, H, Tq, D), keys k and values v
 * (B, Hkv, Tk, D) of any length give (B, H, Tq, D). A query costs as much as at most `blockSize + Tk / blockSize` keys.
 * Dropout draws for the weights of the first attention, then for those of the second, which has `floor(Tk / blockSize)`
 * keys.
 *
 * Throws a `TypeError` if shapes, devices or dtypes do not match, and a `RangeError` if `blockSize` is below 1 or
 * `keyLength` is not a length of k. (Brown et al. 2020, after the fixed pattern of Child et al. 2019, "Generating Long
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

/**
 * The two attentions that {@linkcode sparseAttention} adds: over the query's own block, and over the ends of blocks.
 */
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
 * Returns the weights (B, H, Tq, Tk) by which {@linkcode sparseAttention} with the same arguments mixes the values.
 * Both softmaxes are added, so a row sums to 2 once a block has ended. Tk is `keyLength` where that is given. All
 * weights are stored; meant for plots. Throws like {@linkcode sparseAttention}.
 */
export function sparseAttentionWeights(
  q: Tensor,
  k: Tensor,
  options: Omit<SparseAttentionOptions, "dropout">,
): Tensor {
  const { blockSize, ...rest } = options;
  checkBlockSize("sparseAttentionWeights", blockSize);
  return scoped(() => {
    const blockOf = (at: number) => Math.floor(at / blockSize);
    const [local, column] = storedWeights("sparseAttentionWeights", q, k, rest, [
      (position, key) => key <= position && blockOf(key) === blockOf(position),
      (position, key) => key <= position && blockOf(key + 1) > blockOf(key),
    ]);
    return add(local!, column!);
  });
}

function checkBlockSize(op: string, blockSize: number): void {
  if (!Number.isInteger(blockSize) || blockSize < 1) {
    throw new RangeError(`${op}: expected a blockSize of 1 or more but got ${blockSize}`);
  }
}

/**
 * Returns the weights (B, H, Tq, Tk) by which `attention` with the same arguments mixes the values; zeros where a query
 * sees no key. Tk is `keyLength` where that is given. All weights are stored: for plots, and for gradients through the
 * weights. Throws a `TypeError` if the shapes do not match.
 */
export function attentionWeights(
  q: Tensor,
  k: Tensor,
  options?: Omit<AttentionOptions, "dropout">,
): Tensor {
  checkWindow("attentionWeights", options);
  return scoped(() => {
    const { causal, window = Infinity } = options ?? {};
    const sight = (position: number, key: number) => key <= position && position - key < window;
    return storedWeights("attentionWeights", q, k, options ?? {}, [causal ? sight : null])[0];
  })!;
}

function checkWindow(op: string, { causal, window }: AttentionOptions = {}): void {
  if (window === undefined) return;
  if (!causal) throw new TypeError(`${op}: a window goes with causal attention only`);
  if (!(Number.isInteger(window) && window >= 1)) {
    throw new RangeError(`${op}: expected a window of 1 or more but got ${window}`);
  }
}

/** The order of the axes of queries and keys. */
type HeadLayout = "BHTD" | "BTHD";

/** Which keys are seen, as `step` and `block` of `AttentionParams`; otherwise as in {@linkcode AttentionOptions}. */
type AttendOptions =
  & Omit<AttentionOptions, "causal">
  & Pick<PartialAttentionParams, "step" | "block">;

/**
 * Attention to the keys that `step` and `block` select. `op` is the name in error messages. Throws a `TypeError` if
 * shapes, devices or dtypes do not match, and a `RangeError` for an invalid keyLength.
 */
function attend(
  op: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttendOptions,
): Tensor {
  const { keyValid, positions, layout = "BHTD", step = 0, block = 0 } = options;
  const device = sameDevice(op, q, k, v, keyValid, positions);
  checkLayout(op, layout);
  sameDType(op, k, v);
  const isInt8 = k.dtype === "u32";
  if (isInt8) checkFloat(op, q);
  else {
    checkFloat(op, q, k, v);
    if (q.dtype !== "f32" || k.dtype !== "f16") sameDType(op, q, k);
  }
  if (k.dtype !== q.dtype && needsGrad([q, k, v])) {
    throw new TypeError(
      `${op}: expected noGrad where keys are ${
        isInt8 ? "int8" : k.dtype
      } and queries ${q.dtype} but got a gradient`,
    );
  }
  const [queries, keys] = sizesOf(op, [q, k, v], layout, isInt8);
  const keyLength = checkKeyLength(op, options.keyLength, keys.time);
  if (keyValid) checkKeyValid(op, keyValid, queries.batch, keyLength, keys.time);
  const mayDivide = queries.time === keyLength && !keyValid && !block && step <= 1;
  const shapes = [[queries.batch], ...mayDivide ? [[queries.batch, keyLength]] : []];
  const byDocument = positions !== undefined && checkPositions(op, positions, shapes, step > 0);
  if (!positions && !keyValid && step > 0) checkDocuments(op);
  if (positions && !byDocument && needsGrad([q, k, v])) {
    throw new Error(
      `${op}: expected noGrad where rows have their own positions but got tensors that require a gradient`,
    );
  }
  const params = paramsOf(op, queries, keys, keyLength, options);
  const o = Tensor.empty(device, q.shape, q.dtype);
  // The log-sum-exp of each query, from which the backward pass recomputes the weights, followed by as many elements of
  // scratch for the backward pass.
  const lse = Tensor.empty(device, [2, queries.batch, queries.heads, queries.time]);
  const mask = byDocument ? positions : keyValid;
  const bindings = { q, k, v, mask, positions: byDocument ? undefined : positions, o, lse };
  device.launch(isInt8 ? attentionForwardInt8 : attentionForward, bindings, params);
  const saved = [q, k, v, o, lse, mask] as const;
  const gradientOf = ({ shape, dtype }: Tensor) =>
    params.keys < keys.time ? zeros(shape, { device, dtype }) : Tensor.empty(device, shape, dtype);
  record(op, [q, k, v], o, saved, (dO, [q, k, v, o, lse, mask]) => {
    const dQ = Tensor.empty(device, q.shape, q.dtype);
    // The kernels write only the rows that are keys.
    const [dK, dV] = [gradientOf(k), gradientOf(v)];
    launchAttentionBackward(device, { q, k, v, o, dO, mask, lse, dQ, dK, dV }, params);
    return [dQ, dK, dV];
  });
  lse.dispose();
  return o;
}

/** The parameters of the kernels. */
function paramsOf(
  op: string,
  queries: Sizes,
  keys: Sizes,
  keyLength: number,
  options: AttendOptions,
): AttentionParams {
  const { keyValid, positions, layout = "BHTD", scale, dropout } = options;
  const { step = 0, block = 0, window = 0 } = options;
  // Only the last of every `step` keys is seen.
  const every = Math.max(1, step);
  const kStrides = strides("k", keys, layout), vStrides = strides("v", keys, layout);
  const sizes = {
    batch: queries.batch,
    heads: queries.heads,
    queries: queries.time,
    keys: Math.floor(keyLength / every),
  };
  return attentionParams({
    ...sizes,
    kvHeads: keys.heads,
    d: queries.size,
    ...strides("q", queries, layout),
    ...kStrides,
    ...vStrides,
    ...strides("o", queries, layout),
    kTime: kStrides.kTime * every,
    vTime: vStrides.vTime * every,
    kStart: kStrides.kTime * (every - 1),
    vStart: vStrides.vTime * (every - 1),
    ...keyValid && { maskBatch: keyValid.shape[1] },
    position: keyLength - queries.time,
    step,
    block,
    window: window < keyLength ? window : 0,
    documents: positions?.shape.length === 2 ? 1 : 0,
    ...scale !== undefined && { scale },
    ...drawn(op, dropout, sizes),
  });
}

/**
 * Reserves the random numbers of dropout in its stream, if there is any. Throws a `RangeError` for an invalid
 * probability.
 */
function drawn(
  op: string,
  dropout: AttentionDropout | undefined,
  weights: Parameters<typeof randomNumbers>[0],
): Partial<PartialAttentionParams> {
  if (!dropout) return {};
  const { p, random = defaultRandom() } = dropout;
  checkProbability(op, p);
  return p === 0 ? {} : { dropout: p, ...random.draw(randomNumbers(weights)) };
}

/** The number of keys that exist, at most `capacity`. Throws a `RangeError` if it is out of range. */
function checkKeyLength(
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
function checkKeyValid(
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

/**
 * Whether positions are those of tokens in documents, and not of sequences. Throws a `TypeError` unless they have one of
 * the shapes and the attention is causal.
 */
function checkPositions(
  op: string,
  positions: Tensor,
  shapes: readonly Shape[],
  ordered: boolean,
): boolean {
  if (
    positions.dtype !== "i32" || !shapes.some((shape) => sameShape(positions.shape, shape))
  ) {
    throw new TypeError(
      `${op}: expected positions ${
        shapes.map(formatShape).join(" or ")
      } of i32 but got ${positions}`,
    );
  }
  if (!ordered) {
    throw new TypeError(`${op}: expected causal attention with positions but got causal: false`);
  }
  return positions.shape.length === 2;
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly time: number;
  readonly size: number;
}

/** Throws a `TypeError` unless the layout is known. */
function checkLayout(op: string, layout: HeadLayout): void {
  if (layout === "BHTD" || layout === "BTHD") return;
  throw new TypeError(`${op}: expected layout "BHTD" or "BTHD" but got "${layout}"`);
}

/** The axes of the queries and of the keys by name; the size of keys of int8 is in words. */
function sizesOf(
  op: string,
  tensors: readonly [q: Tensor, k: Tensor, v: Tensor],
  layout: HeadLayout,
  isInt8: boolean,
): [Sizes, Sizes] {
  const [q, k, v] = tensors.map(({ shape }) => shape) as [Shape, Shape, Shape];
  const named = (shape: Shape): Sizes => {
    const [batch, second, third, size] = shape as [number, number, number, number];
    return layout === "BHTD"
      ? { batch, heads: second, time: third, size }
      : { batch, heads: third, time: second, size };
  };
  const [queries, keys] = [named(q), named(k)];
  const fits = q.length === 4 && k.length === 4 && sameShape(k, v) &&
    queries.batch === keys.batch &&
    keys.size === (isInt8 ? int8Words(queries.size) : queries.size) &&
    queries.heads % keys.heads === 0;
  if (!fits) {
    const axes = [...layout].join(", ");
    throw new TypeError(
      `${op}: expected q (${axes}) and equal k and v (${
        axes.replace("H", "Hkv")
      }) whose Hkv divides H ` +
        `but got ${[q, k, v].map(formatShape).join(", ")}`,
    );
  }
  return [queries, keys];
}

/** Strides in elements between sequences, heads and time steps, under the kernels' names. */
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

/** The score of a hidden key. Finite, so that a row with nothing else gives no NaN. */
const HIDDEN = -1e30;

/** Whether a query at a position sees a key. */
type Sight = (position: number, key: number) => boolean;

/**
 * The weights (B, H, Tq, Tk) of q and k for each predicate; null sees all keys. Makes tensors that the caller's scope
 * frees. Throws a `TypeError` if the shapes do not match.
 */
function storedWeights(
  op: string,
  q: Tensor,
  k: Tensor,
  options: Omit<AttentionOptions, "dropout">,
  sights: readonly (Sight | null)[],
): Tensor[] {
  const { keyValid, positions, layout = "BHTD" } = options;
  const device = sameDevice(op, q, k, keyValid, positions);
  checkLayout(op, layout);
  if (k.dtype === "u32") throw new TypeError(`${op}: expected keys of f32 or f16 but got int8`);
  checkFloat(op, q, k);
  checkRank(op, q, 4, "q with four axes");
  checkRank(op, k, 4, "k with four axes");
  const inOrder = (x: Tensor) => layout === "BHTD" ? x : permute(x, [0, 2, 1, 3]);
  const [queries, all] = [inOrder(q), inOrder(k)];
  const [batch, heads, time, size] = queries.shape as [number, number, number, number];
  const [keyBatch, kvHeads, capacity, keySize] = all.shape as [number, number, number, number];
  if (heads % kvHeads !== 0 || keyBatch !== batch || keySize !== size) {
    throw new TypeError(
      `${op}: expected q and k of one batch and head size, and a multiple of k's heads in q, but got ${
        formatShape(q.shape)
      } and ` +
        formatShape(k.shape),
    );
  }
  const length = checkKeyLength(op, options.keyLength, capacity);
  const keys = length < capacity ? slice(all, [[0], [0], [0, length]]) : all;
  const shapes = [[batch], ...length === time && !keyValid && !sights[1] ? [[batch, time]] : []];
  const byDocument = positions !== undefined &&
    checkPositions(op, positions, shapes, !sights.includes(null));

  // Heads that share keys become rows of one product.
  const grouped = reshape(queries, [batch, kvHeads, heads / kvHeads * time, size]);
  const { scale = 1 / Math.sqrt(size) } = options;
  const product = mul(matmul(grouped, keys, { transposeB: true }), scale);
  const scores = reshape(product, [batch, heads, time, length]);

  let padding: Tensor | undefined;
  if (keyValid) {
    checkKeyValid(op, keyValid, batch, length, capacity);
    const flags = keyValid.shape[1]! > length ? slice(keyValid, [[0], [0, length]]) : keyValid;
    padding = reshape(equal(flags, 0), [batch, 1, 1, length]);
  }

  /** The keys hidden from each query: (Tq, Tk), or (B, 1, Tq, Tk) where sequences have their own positions. */
  const hidden = (sees: Sight): Tensor => {
    const table = (first: number, count: number): Tensor => {
      const flags = Float32Array.from(
        { length: count * length },
        (_, i) => Number(!sees(first + Math.floor(i / length), i % length)),
      );
      return tensor(flags, { shape: [count, length], device });
    };
    if (!positions || byDocument) return table(length - time, time);
    const ids = add(reshape(positions, [batch, 1]), arange(time, { device }));
    return reshape(embedding(table(0, length + time), ids), [batch, 1, time, length]);
  };

  /** The keys (B, 1, T, T) of earlier documents. */
  const earlier = (places: Tensor): Tensor => {
    const starts = sub(arange(time, { device }), places); // (B, T)
    return less(arange(time, { device }), reshape(starts, [batch, 1, time, 1]));
  };

  return sights.map((sees) => {
    const masks = [
      ...padding ? [padding] : [],
      ...sees ? [hidden(sees)] : [],
      ...byDocument ? [earlier(positions)] : [],
    ];
    const hide = (x: Tensor, value: number) =>
      masks.reduce((y, mask) => maskedFill(y, mask, value), x);
    return hide(softmax(hide(scores, HIDDEN)), 0);
  });
}
