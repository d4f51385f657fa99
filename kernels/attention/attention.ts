/**
 * What the attention kernels share: their parameters, the constants of their GPU programs, and the iteration over
 * visible keys in their reference implementations.
 *
 * @module
 */
import { type GpuTarget, MAX_ITERATIONS } from "../../src/device/kernel.ts";
import {
  eachRandom,
  philoxWgsl,
  STREAM_PARAMS,
  type StreamParams,
  unit,
} from "../sampling/philox.ts";
import shared from "./attention.wgsl" with { type: "text" };
import blocked from "./attention_blocked.wgsl" with { type: "text" };
import matrix from "./attention_matrix.wgsl" with { type: "text" };

/**
 * Parameters of an attention; {@linkcode attentionParams} fills in those that follow from the others. Strides are in
 * elements (of int8, in words); the elements of a head are contiguous. Gradients have the strides of the tensors they
 * belong to.
 */
export type AttentionParams = StreamParams & {
  /** The number of sequences. */
  batch: number;
  /** Heads of q and o. */
  heads: number;
  /** Heads of k and v, a divisor of `heads`: query head h uses `floor(h / (heads / kvHeads))`. */
  kvHeads: number;
  /** Queries in a sequence, and rows of o. */
  queries: number;
  /** Keys and values in a sequence. */
  keys: number;
  /** The size of a head, 1 to 256. */
  d: number;
  /** The stride of q between sequences. */
  qBatch: number;
  /** The stride of q between heads. */
  qHead: number;
  /** The stride of q between time steps. */
  qTime: number;
  /** As `qBatch`, for k. */
  kBatch: number;
  /** As `qHead`, for k. */
  kHead: number;
  /** As `qTime`, for k. */
  kTime: number;
  /** As `qBatch`, for v. */
  vBatch: number;
  /** As `qHead`, for v. */
  vHead: number;
  /** As `qTime`, for v. */
  vTime: number;
  /** As `qBatch`, for o. */
  oBatch: number;
  /** As `qHead`, for o. */
  oHead: number;
  /** As `qTime`, for o. */
  oTime: number;
  /** The stride of keyValid between sequences; at least `keys`. */
  validBatch: number;
  /** The offset of the first query in q, for example where queries, keys and values are parts of one tensor. */
  qStart: number;
  /** As `qStart`, for k; also where only some rows of a tensor are keys. */
  kStart: number;
  /** As `qStart`, for v. */
  vStart: number;
  /** The position of query 0; query i is at `position + i`. Negative if the first queries see no key. */
  position: number;
  /**
   * Key j is at position `(j + 1) step - 1`, and a query sees the keys up to its own position. 1 is ordinary causal
   * attention; with 0 every query sees all keys.
   */
  step: number;
  /** If not 0, a query at position p sees no key before `floor(p / block) block`. Requires a `step` of 1. */
  block: number;
  /** If not 0, a query at position p sees no key before `p - window + 1`. Requires a `step` of 1. */
  window: number;
  /** The factor of the scores. */
  scale: number;
  /**
   * The fraction of the weights that is dropped after the softmax, in [0, 1). Each row of weights draws whole blocks
   * of four random numbers, one number for each key; see {@linkcode randomNumbers}.
   */
  dropout: number;
};

/** The argument of {@linkcode attentionParams}: the sizes, and whatever differs from the defaults. */
export type PartialAttentionParams =
  & Partial<AttentionParams>
  & Pick<AttentionParams, "batch" | "heads" | "queries" | "keys" | "d">;

/** The largest head size. */
export const MAX_HEAD_SIZE = 256;

/** How many random numbers dropout draws: whole blocks of four for each row of (batch, heads, queries). */
export function randomNumbers(
  { batch, heads, queries, keys }: Pick<AttentionParams, "batch" | "heads" | "queries" | "keys">,
): number {
  return batch * heads * queries * Math.ceil(keys / 4) * 4;
}

/**
 * Returns all parameters of an attention. Defaults: as many key heads as query heads, contiguous tensors (batch,
 * heads, time, d), the last query at the position of the last key, every key visible, scale `1 / sqrt(d)`, no
 * dropout.
 *
 * @throws {RangeError} If d is not 1 to 256, if heads is not a multiple of kvHeads, or if dropout would draw over
 * 2^34 numbers.
 */
export function attentionParams(options: PartialAttentionParams): AttentionParams {
  const { heads, kvHeads = heads, queries, keys, d } = options;
  if (!(d >= 1 && d <= MAX_HEAD_SIZE)) {
    throw new RangeError(
      `attention: expected heads of 1 to ${MAX_HEAD_SIZE} elements but got ${d}`,
    );
  }
  if (!(kvHeads >= 1 && heads % kvHeads === 0)) {
    throw new RangeError(
      `attention: expected a multiple of ${kvHeads} key heads but got ${heads} query heads`,
    );
  }
  const { dropout = 0 } = options;
  if (dropout > 0 && randomNumbers(options) > 2 ** 34) {
    throw new RangeError(
      `attention: expected at most 2^34 weights with dropout but got ${randomNumbers(options)}`,
    );
  }
  // deno-fmt-ignore
  return {
    qBatch: heads * queries * d, qHead: queries * d, qTime: d,
    kBatch: kvHeads * keys * d, kHead: keys * d, kTime: d,
    vBatch: kvHeads * keys * d, vHead: keys * d, vTime: d,
    oBatch: heads * queries * d, oHead: queries * d, oTime: d,
    validBatch: keys, qStart: 0, kStart: 0, vStart: 0, position: keys - queries, step: 0, block: 0, window: 0, scale: 1 / Math.sqrt(d),
    seed_low: 0, seed_high: 0, block_low: 0, block_high: 0,
    ...options, kvHeads, dropout,
  };
}

/** The types of {@linkcode AttentionParams} in a kernel's specification. */
// deno-fmt-ignore
export const ATTENTION_PARAMS: Readonly<Record<keyof AttentionParams, "u32" | "i32" | "f32">> = {
  batch: "u32", heads: "u32", kvHeads: "u32", queries: "u32", keys: "u32", d: "u32",
  qBatch: "u32", qHead: "u32", qTime: "u32", kBatch: "u32", kHead: "u32", kTime: "u32",
  vBatch: "u32", vHead: "u32", vTime: "u32", oBatch: "u32", oHead: "u32", oTime: "u32",
  validBatch: "u32", qStart: "u32", kStart: "u32", vStart: "u32", position: "i32", step: "u32", block: "u32", window: "u32", scale: "f32",
  ...STREAM_PARAMS, dropout: "f32",
};

/**
 * The GPU programs: `matrix` uses matrix units; `blocked` multiplies blocks of rows in workgroup memory; `tiled`, for
 * GPUs whose workgroup memory is too small for blocks, has one row per invocation; `subgroup` is for software
 * adapters.
 */
export type AttentionVariant = "matrix" | "blocked" | "tiled" | "subgroup";

/** Assembles the programs of a kernel from its bindings and its bodies. */
export function attentionPrograms(
  bindings: string,
  bodies: Readonly<Record<AttentionVariant, string>>,
): Record<AttentionVariant, string> {
  const head = `${shared}\n//#if DROPOUT\n${philoxWgsl}\n//#end\n${bindings}`;
  return {
    matrix: `${head}\n${matrix}\n${bodies.matrix}`,
    blocked: `${head}\n${blocked}\n${bodies.blocked}`,
    tiled: `${head}\n${bodies.tiled}`,
    subgroup: `${head}\n${bodies.subgroup}`,
  };
}

/** What the workgroups of a kernel hold, and how much they iterate over. */
export interface AttentionWalk {
  /** The tiles in workgroup memory of the blocked program: own rows, other rows, and matrices of weights. */
  readonly tiles: readonly [own: number, other: number, weights: number];
  /** The number of rows on the other side. */
  readonly others: number;
  /** The number of passes over them. Default: 1. */
  readonly repeats?: number;
}

/** The numbers of own and other rows of a workgroup. */
type Blocks = Readonly<Record<"own" | "other", number>>;

/** Block sizes of the blocked programs, the best first. */
const BLOCKS = [[64, 32], [32, 32], [32, 16], [16, 16]] as const;
/** The largest head size, in vec4, whose sums fit in the registers of the blocked programs. */
const MAX_BLOCKED_D4 = 32;

/** The largest blocks that fit in workgroup memory; undefined if none do. */
function blocksThatFit(
  d4: number,
  vec4Bytes: number,
  [own, other, weights]: AttentionWalk["tiles"],
  dropout: boolean,
  { maxInvocations, maxWorkgroupBytes }: GpuTarget,
): Blocks | undefined {
  if (d4 > MAX_BLOCKED_D4) return undefined;
  const fitting = BLOCKS.find(([owned, others]) => {
    const bytes = (d4 | 1) * vec4Bytes * (own * owned + other * others) +
      weights * others * (owned / 4 + 1) * 16 + 2 * owned * 16 + Number(dropout) * owned * others;
    return bytes <= maxWorkgroupBytes && 2 * owned <= maxInvocations;
  });
  return fitting && { own: fitting[0], other: fitting[1] };
}

/** Block sizes of the programs for matrix units, the best first. */
const MATRIX_BLOCKS = [[64, 32], [64, 16], [32, 16]] as const;

/** The largest blocks of the programs for matrix units that fit; undefined if none do. */
function matricesThatFit(
  { d, dropout }: AttentionParams,
  weights: number,
  target: GpuTarget,
): Blocks | undefined {
  const { q, k, v } = target.dtypes;
  const halves = q === "f16" && k === "f16" && v === "f16";
  if (!target.matrixUnits || !halves || d % 16 !== 0 || d > 128) return undefined;
  const fitting = MATRIX_BLOCKS.find(([owned, others]) => {
    // Own rows are held one operand at a time. The rest: scores and, in the backward pass, what they are multiplied
    // by.
    const bytes = (2 * d + 16) * (owned + 2 * others) +
      owned * (2 * (4 * others + 16) + weights * (2 * others + 16) + 16) + 8 * others +
      Number(dropout > 0) * owned * others;
    return bytes <= target.maxWorkgroupBytes;
  });
  return fitting && { own: fitting[0], other: fitting[1] };
}

/** How a variant of a kernel is launched. */
interface VariantLaunch {
  /** The rows of a workgroup. */
  readonly rows: number;
  /** The iterations of an invocation. */
  readonly iterations: number;
  readonly constants: Readonly<Record<string, number | string | boolean>>;
}

/** What the launches of all variants are computed from. */
interface WalkSizes {
  /** The size of a head, in elements and in vec4. */
  readonly d: number;
  readonly d4: number;
  /** The iterations over the other side for `rows` own rows, if `step` rows take `each` iterations. */
  readonly iterations: (rows: number, step: number, each: number) => number;
}

function subgroupLaunch({ d4, iterations }: WalkSizes): VariantLaunch {
  return {
    rows: 8,
    iterations: iterations(8, 8, 1 + 2 * d4),
    constants: { ROWS: 8, TILES: 2, TILE_VECTORS: 16 * d4 },
  };
}

function tiledLaunch({ d4, iterations }: WalkSizes, maxWorkgroupBytes: number): VariantLaunch {
  // Two tiles share the workgroup memory; 32 rows of a head of 64 fill the 16 KiB that every GPU has.
  const fit = Math.floor(maxWorkgroupBytes / (2 * 16 * d4 * 8));
  const passing = Math.max(1, Math.min(4, fit));
  return {
    rows: 64,
    iterations: iterations(64, 8 * passing, 1 + passing + Math.ceil(passing * d4 / 8)),
    constants: { ROWS: 64, TILES: passing, TILE_VECTORS: 8 * passing * d4 },
  };
}

function blockedLaunch(
  { d4, iterations }: WalkSizes,
  { own, other }: Blocks,
  half: boolean,
): VariantLaunch {
  const each = 1 + d4 + Math.ceil(other * d4 / (2 * own)) + other / 4;
  return {
    rows: own,
    iterations: iterations(own, other, each) + 4 * d4,
    constants: {
      OWN: own,
      OTHER: other,
      THREADS: 2 * own,
      OTHERS: other / 8,
      COLUMNS: Math.ceil(d4 / 8),
      STRIDE: d4 | 1,
      Tile: half ? "vec4<f16>" : "vec4<f32>",
    },
  };
}

function matrixLaunch({ d, d4, iterations }: WalkSizes, { own, other }: Blocks): VariantLaunch {
  return {
    rows: own,
    // The forward program makes two passes.
    iterations: 2 * iterations(own, other, 1 + Math.ceil(other * d4 / (2 * own))),
    constants: {
      OWN: own,
      OTHER: other,
      THREADS: 2 * own,
      D16: d / 16,
      OTHER16: other / 16,
      EIGHTHS: other / 8,
      STRIDE: d4 + 2,
    },
  };
}

/** Chooses the program, its constants, the rows of a workgroup and the iterations of an invocation. */
export function attentionLaunch(
  params: AttentionParams,
  target: GpuTarget,
  { tiles, others, repeats = 1 }: AttentionWalk,
): VariantLaunch & { readonly variant: AttentionVariant; readonly vec4: "*" | false } {
  const { d, dropout } = params;
  const { subgroupSize, software, maxWorkgroupBytes } = target;
  const reach = reachOf(params);
  const d4 = Math.ceil(d / 4);
  const half = target.dtypes.q === "f16";
  // Tiles of keys begin at a multiple of 4.
  const met = (rows: number) => Math.min(others, reach + rows + 3);
  const sizes: WalkSizes = {
    d,
    d4,
    // The last term: rows are loaded and stored, up to four elements one by one.
    iterations: (rows, step, each) => repeats * (1 + Math.ceil(met(rows) / step) * each) + 12 * d4,
  };
  const keyStrides = params.kBatch | params.kHead | params.kTime | params.kStart |
    params.vBatch | params.vHead | params.vTime | params.vStart;
  const strides = params.qBatch | params.qHead | params.qTime | params.qStart |
    params.oBatch | params.oHead | params.oTime;
  const isInt8 = target.dtypes.k === "u32"; // whose words are loaded one by one
  const inFours = ((strides | (isInt8 ? 0 : keyStrides) | d) & 3) === 0;
  const choose = (): VariantLaunch & { variant: AttentionVariant } => {
    if (software && subgroupSize === 8) {
      const launch = subgroupLaunch(sizes);
      if (launch.iterations <= MAX_ITERATIONS) return { variant: "subgroup", ...launch };
    }
    const matrices = inFours ? matricesThatFit(params, tiles[2], target) : undefined;
    if (matrices) return { variant: "matrix", ...matrixLaunch(sizes, matrices) };
    const blocks = software
      ? undefined
      : blocksThatFit(d4, half ? 8 : 16, tiles, dropout > 0, target);
    if (blocks) return { variant: "blocked", ...blockedLaunch(sizes, blocks, half) };
    return { variant: "tiled", ...tiledLaunch(sizes, maxWorkgroupBytes) };
  };
  const { variant, rows, iterations, constants } = choose();
  return {
    variant,
    rows,
    iterations,
    vec4: inFours && "*",
    constants: { D: d, D4: d4, DROPOUT: dropout > 0, ...constants },
  };
}

/** The most keys that a query may see under `block` and `window`. */
function reachOf({ block, window }: AttentionParams): number {
  return Math.min(block || Infinity, window || Infinity);
}

/** Floating-point operations of `products` products of size queries x keys x d. */
export function attentionFlops(params: AttentionParams, products: number): number {
  const { batch, heads, queries, keys, d, step } = params;
  const seen = Math.min(reachOf(params), step ? keys / 2 : keys);
  return 2 * products * batch * heads * queries * seen * d;
}

/** One query head of one sequence: the offsets of its rows and of its keys. */
export interface Head {
  /** The sequence. */
  readonly b: number;
  /** The number of rows of lse before this head. */
  readonly rows: number;
  /** The offset of its first element in q. */
  readonly q: number;
  /** As `q`, in k. */
  readonly k: number;
  /** As `q`, in v. */
  readonly v: number;
  /** As `q`, in o. */
  readonly o: number;
}

/** Iterates over the query heads of all sequences. */
export function* headsOf(p: AttentionParams): Generator<Head> {
  for (let b = 0; b < p.batch; b++) {
    for (let h = 0; h < p.heads; h++) {
      const kv = Math.floor(h / (p.heads / p.kvHeads));
      yield {
        b,
        rows: (b * p.heads + h) * p.queries,
        q: p.qStart + b * p.qBatch + h * p.qHead,
        k: p.kStart + b * p.kBatch + kv * p.kHead,
        v: p.vStart + b * p.vBatch + kv * p.vHead,
        o: b * p.oBatch + h * p.oHead,
      };
    }
  }
}

/** The keys that query `i` of sequence `b` may see, if query 0 is at position `first`. */
export function visibleKeys(
  p: AttentionParams,
  valid: ArrayLike<number> | undefined,
  b: number,
  i: number,
  first: number = p.position,
): number[] {
  const position = first + i;
  const begin = Math.max(
    p.block ? Math.floor(position / p.block) * p.block : 0,
    p.window ? position + 1 - p.window : 0,
    0,
  );
  const end = p.step ? Math.min(p.keys, Math.floor((position + 1) / p.step)) : p.keys;
  const keys: number[] = [];
  for (let j = begin; j < end; j++) if (!valid || valid[b * p.validBatch + j] !== 0) keys.push(j);
  return keys;
}

/**
 * The factors by which dropout multiplies a row of weights, one for each key: 0 where the random number is below
 * `dropout`, otherwise 1 / (1 - dropout). Rows are those of (batch, heads, queries).
 */
export function dropoutFactors(p: AttentionParams, row: number): Float64Array {
  const blocks = Math.ceil(p.keys / 4);
  const factors = new Float64Array(4 * blocks).fill(1);
  const threshold = Math.fround(p.dropout);
  if (threshold === 0) return factors;
  const visit = (key: number, bits: number) => {
    factors[key] = unit(bits) < threshold ? 0 : 1 / (1 - threshold);
  };
  eachRandom(factors.length, p, visit, row * blocks);
  return factors;
}

/** The dot product of two rows of `d` elements. */
export function dot(
  x: ArrayLike<number>,
  xAt: number,
  y: ArrayLike<number>,
  yAt: number,
  d: number,
): number {
  let sum = 0;
  for (let c = 0; c < d; c++) sum += x[xAt + c]! * y[yAt + c]!;
  return sum;
}
