/**
 * What the kernels of attention share: their numbers, the constants of their GPU programs, and the walk over
 * visible keys of their CPU twins.
 *
 * @module
 */
import type { AttentionOptions as CpuAttention } from "../src/device/cpu/attention.ts";
import { type GpuTarget, MAX_ITERATIONS } from "../src/device/kernel.ts";
import shared from "./attention.wgsl" with { type: "text" };

/**
 * Numbers of an attention; {@linkcode attentionParams} fills in those that follow from the others. Strides are in
 * elements, and neighbours in a head lie side by side. Gradients have the strides of what they are gradients of.
 */
export type AttentionParams = {
  /** Sequences. */
  batch: number;
  /** Heads of q and o. */
  heads: number;
  /** Heads of k and v, a divisor of `heads`: query head h uses `floor(h / (heads / kv_heads))`. */
  kv_heads: number;
  /** Time steps of q and o. */
  queries: number;
  /** Time steps of k and v. */
  keys: number;
  /** The size of a head, 1 to 256. */
  d: number;
  /** From one sequence of q to the next. */
  q_batch: number;
  /** From one head of q to the next. */
  q_head: number;
  /** From one time step of q to the next. */
  q_time: number;
  /** As of q, of k. */
  k_batch: number;
  /** As of q, of k. */
  k_head: number;
  /** As of q, of k. */
  k_time: number;
  /** As of q, of v. */
  v_batch: number;
  /** As of q, of v. */
  v_head: number;
  /** As of q, of v. */
  v_time: number;
  /** As of q, of o. */
  o_batch: number;
  /** As of q, of o. */
  o_head: number;
  /** As of q, of o. */
  o_time: number;
  /** From the flags in key_valid of one sequence to those of the next; at least `keys`. */
  valid_batch: number;
  /** Elements of k before the first key, as when only some of the rows of a tensor are keys. */
  k_start: number;
  /** As of k, of v. */
  v_start: number;
  /** The position of query 0, below 0 where the first ones see nothing; query i stands at `past + i`. */
  past: number;
  /**
   * Key j stands at the position `(j + 1) step - 1`, and a query sees those up to its own position: 1 for ordinary
   * causal attention. 0: it sees all keys.
   */
  step: number;
  /** A query at position p sees no key before `floor(p / block) block`; goes with a step of 1. 0: it does. */
  block: number;
  /** The factor of the scores. */
  scale: number;
};

/** What {@linkcode attentionParams} starts from: the sizes, and what is not as usual. */
export type AttentionOptions =
  & Partial<AttentionParams>
  & Pick<AttentionParams, "batch" | "heads" | "queries" | "keys" | "d">;

/** The most elements of a head. */
export const MAX_HEAD_SIZE = 256;

/**
 * All numbers of an attention. What is left out is taken from the sizes: as many key heads as query heads, tensors
 * (batch, heads, time, d) without gaps, the last query at the position of the last key, every key visible, scale
 * `1 / sqrt(d)`.
 *
 * @throws {RangeError} If d is not 1 to 256, or heads is no multiple of kv_heads.
 */
export function attentionParams(options: AttentionOptions): AttentionParams {
  const { heads, kv_heads = heads, queries, keys, d } = options;
  if (!(d >= 1 && d <= MAX_HEAD_SIZE)) {
    throw new RangeError(`attention: a head has 1 to ${MAX_HEAD_SIZE} elements, not ${d}`);
  }
  if (!(kv_heads >= 1 && heads % kv_heads === 0)) {
    throw new RangeError(`attention: ${heads} query heads cannot share ${kv_heads} key heads`);
  }
  // deno-fmt-ignore
  return {
    q_batch: heads * queries * d, q_head: queries * d, q_time: d,
    k_batch: kv_heads * keys * d, k_head: keys * d, k_time: d,
    v_batch: kv_heads * keys * d, v_head: keys * d, v_time: d,
    o_batch: heads * queries * d, o_head: queries * d, o_time: d,
    valid_batch: keys, k_start: 0, v_start: 0, past: keys - queries, step: 0, block: 0, scale: 1 / Math.sqrt(d),
    ...options, kv_heads,
  };
}

/** {@linkcode AttentionParams} as a kernel declares them. */
// deno-fmt-ignore
export const ATTENTION_PARAMS: Readonly<Record<keyof AttentionParams, "u32" | "i32" | "f32">> = {
  batch: "u32", heads: "u32", kv_heads: "u32", queries: "u32", keys: "u32", d: "u32",
  q_batch: "u32", q_head: "u32", q_time: "u32", k_batch: "u32", k_head: "u32", k_time: "u32",
  v_batch: "u32", v_head: "u32", v_time: "u32", o_batch: "u32", o_head: "u32", o_time: "u32",
  valid_batch: "u32", k_start: "u32", v_start: "u32", past: "i32", step: "u32", block: "u32", scale: "f32",
};

/** Which program a GPU runs. */
export type AttentionVariant = "tiled" | "subgroup";

/** The whole programs of a kernel from its bindings and its bodies. */
export function attentionPrograms(
  bindings: string,
  tiled: string,
  subgroup: string,
): Record<AttentionVariant, string> {
  const head = `${shared}\n${bindings}`;
  return { tiled: `${head}\n${tiled}`, subgroup: `${head}\n${subgroup}` };
}

/**
 * The program for an adapter, its constants, how many rows a workgroup has, and the iterations of an invocation.
 * Each of its rows meets `others` rows of the other side, `repeats` times.
 */
export function attentionLaunch(
  params: AttentionParams,
  { dtypes, subgroupSize, software, maxWorkgroupBytes }: GpuTarget,
  others: number,
  repeats: number = 1,
): {
  variant: AttentionVariant;
  constants: Record<string, number | string | boolean>;
  rows: number;
  iterations: number;
} {
  const { d, block } = params;
  const d4 = Math.ceil(d / 4);
  // Two tiles share the workgroup memory; 32 rows of a head of 64 fill the 16 KiB that every GPU has.
  const fit = Math.floor(maxWorkgroupBytes / (2 * 16 * d4 * 8));
  const shapes = {
    subgroup: { rows: 8, tiles: 2 },
    tiled: { rows: 64, tiles: Math.max(1, Math.min(4, fit)) },
  };
  const iterationsOf = (variant: AttentionVariant): number => {
    const { rows, tiles } = shapes[variant];
    const met = block ? Math.min(others, block + rows) : others;
    const each = variant === "subgroup" ? 1 + 2 * d4 : 1 + tiles + Math.ceil(8 * tiles * d4 / rows);
    // Besides, rows are loaded and stored, up to four elements one by one.
    return repeats * (1 + Math.ceil(met / (8 * tiles)) * each) + 12 * d4;
  };
  const variant: AttentionVariant =
    software && subgroupSize === 8 && iterationsOf("subgroup") <= MAX_ITERATIONS
      ? "subgroup"
      : "tiled";
  const { rows, tiles } = shapes[variant];
  const strides = params.q_batch | params.q_head | params.q_time | params.k_batch | params.k_head |
    params.k_time | params.v_batch | params.v_head | params.v_time | params.o_batch |
    params.o_head | params.o_time | params.k_start | params.v_start;
  const vector = ((strides | d) & 3) === 0;
  return {
    variant,
    rows,
    iterations: iterationsOf(variant),
    constants: {
      T: dtypes.q,
      V: dtypes.key_valid ?? "i32",
      D: d,
      D4: d4,
      MASKED: dtypes.key_valid !== undefined,
      ROWS: rows,
      TILES: tiles,
      TILE_VECTORS: 8 * tiles * d4,
      VECTOR: vector ? 1 : 0,
      SCALAR: vector ? 0 : 1,
    },
  };
}

/** A query head of a sequence: where its rows and those of its keys begin. */
export interface Head {
  /** The sequence. */
  readonly b: number;
  /** Rows of stats before this head. */
  readonly rows: number;
  /** The first elements of q, k, v and o. */
  readonly q: number;
  /** See `q`. */
  readonly k: number;
  /** See `q`. */
  readonly v: number;
  /** See `q`. */
  readonly o: number;
}

/** All query heads of all sequences. */
export function* headsOf(p: AttentionParams): Generator<Head> {
  for (let b = 0; b < p.batch; b++) {
    for (let h = 0; h < p.heads; h++) {
      const kv = Math.floor(h / (p.heads / p.kv_heads));
      yield {
        b,
        rows: (b * p.heads + h) * p.queries,
        q: b * p.q_batch + h * p.q_head,
        k: p.k_start + b * p.k_batch + kv * p.k_head,
        v: p.v_start + b * p.v_batch + kv * p.v_head,
        o: b * p.o_batch + h * p.o_head,
      };
    }
  }
}

/** The keys that query `i` of sequence `b` may see, where query 0 stands at `past`. */
export function visibleKeys(
  p: AttentionParams,
  valid: ArrayLike<number> | undefined,
  b: number,
  i: number,
  past: number = p.past,
): number[] {
  const position = past + i;
  const begin = p.block ? Math.max(0, Math.floor(position / p.block) * p.block) : 0;
  const end = p.step ? Math.min(p.keys, Math.floor((position + 1) / p.step)) : p.keys;
  const keys: number[] = [];
  for (let j = begin; j < end; j++) if (!valid || valid[b * p.valid_batch + j] !== 0) keys.push(j);
  return keys;
}

/** The product of two rows of `d` elements. */
export function dot(
  x: ArrayLike<number>,
  xAt: number,
  y: ArrayLike<number>,
  yAt: number,
  d: number,
): number {
  let sum = 0;
  for (let c = 0; c < d; c++) sum += x[xAt + c] * y[yAt + c];
  return sum;
}

/** The options of the CPU device's attention. */
export function cpuAttention(
  p: AttentionParams,
  at: Readonly<Record<string, number>>,
): CpuAttention {
  return {
    batch: p.batch,
    heads: p.heads,
    kvHeads: p.kv_heads,
    queries: p.queries,
    keys: p.keys,
    d: p.d,
    q: at.q,
    k: at.k + 4 * p.k_start,
    v: at.v + 4 * p.v_start,
    o: at.o,
    lse: at.stats,
    keyValid: at.key_valid,
    qStrides: [p.q_batch, p.q_head, p.q_time],
    kStrides: [p.k_batch, p.k_head, p.k_time],
    vStrides: [p.v_batch, p.v_head, p.v_time],
    oStrides: [p.o_batch, p.o_head, p.o_time],
    validStride: p.valid_batch,
    scale: p.scale,
    step: p.step,
    block: p.block,
    past: p.past,
  };
}
