/**
 * Attention on the CPU's threads: which WASM kernel runs, and how threads share the work.
 *
 * @module
 */
import { BYTES, type DType } from "../../src/device/dtype.ts";
import type { Addresses, CpuContext } from "../../src/device/kernel.ts";
import type { AttentionParams } from "./attention.ts";

/** The most queries of one task. */
const MAX_QUERIES = 240;

/** Fewer queries than this are computed without packing. */
const MIN_QUERIES = 4;

/** Multiplications below which waking the other threads costs more than it gains. */
const SMALL = 32768;

/** The most query heads of a task without packing. */
const MAX_GROUP = 256;

/** The queries of a task with BLAS; with fewer than half of it, packing costs too much. */
const BLAS_QUERIES = 128;

/** Whether BLAS is faster: its tiles are large, so most of what they compute must be visible. */
function suitsBlas(
  { blas }: CpuContext,
  { queries, keys, d, block, window }: AttentionParams,
  { positions }: Addresses,
): boolean {
  return blas?.singleThreaded === true && !positions && block === 0 && d >= 16 &&
    Math.min(queries, keys) >= BLAS_QUERIES / 2 && (window === 0 || window >= BLAS_QUERIES);
}

/** Most elements of adjacent keys at one position in a task that goes without packing, unless they are f32. */
const MAX_TILE = 4096;

/** The formats of keys and values by dtype, as the WASM kernels number them; int8 is in words of `u32`. */
const FORMATS: Readonly<Partial<Record<DType, number>>> = { f32: 0, f16: 1, u32: 2 };

/** The arguments with which all three kernels begin. */
function tensors(p: AttentionParams, at: Addresses, dtype: DType = "f32"): number[] {
  const { q, k, v, o, lse, keyValid = 0 } = at;
  const bytes = BYTES[dtype];
  return [q! + 4 * p.qStart, k! + bytes * p.kStart, v! + bytes * p.vStart, o!, lse!, keyValid];
}

/** The arguments of all three kernels after the addresses. */
function layout(p: AttentionParams): number[] {
  // deno-fmt-ignore
  return [p.heads, p.kvHeads, p.queries, p.keys, p.d, p.qBatch, p.qHead, p.qTime, p.kBatch, p.kHead, p.kTime,
    p.vBatch, p.vHead, p.vTime, p.oBatch, p.oHead, p.oTime, p.validBatch, p.scale, p.step, p.block,
    p.window, p.position];
}

/** The arguments for dropout, which come last. */
function dropoutOf(
  { seed_low, seed_high, block_low, block_high, dropout }: AttentionParams,
): number[] {
  const p = Math.fround(dropout);
  return [seed_low, seed_high, block_low, block_high, p, 1 / (1 - p)];
}

/**
 * `attentionForward` in float32. `lse` may be 0; only its first half is written. `dtype` is that of k and v: f32, f16,
 * or u32 for int8.
 */
export function attentionSimd(
  context: CpuContext,
  params: AttentionParams,
  at: Addresses,
  dtype: DType = "f32",
): void {
  const { threads } = context;
  const { batch, heads, kvHeads, queries, keys, d } = params;
  if (batch * heads * queries === 0) return;
  const format = FORMATS[dtype]!;
  const { positions = 0 } = at;
  if (queries < MIN_QUERIES && params.dropout === 0) {
    const small = batch * heads * queries * keys * d < SMALL;
    const wanted = small ? 1 : Math.ceil(2 * threads / batch);
    const room = format ? Math.floor(MAX_TILE / d) : Infinity;
    const most = Math.max(1, Math.min(Math.floor(MAX_GROUP * kvHeads / heads), room));
    const groupHeads = Math.min(most, Math.ceil(kvHeads / wanted));
    const tasks = batch * Math.ceil(kvHeads / groupHeads);
    // deno-fmt-ignore
    context.run("attention_few", tasks, small ? tasks : 1, ...tensors(params, at, dtype), ...layout(params), positions,
      groupHeads, format);
    return;
  }
  // Large blocks pack keys less often; small blocks keep all threads busy.
  const most = threads === 1 ? 1 : Math.ceil(4 * threads / (batch * heads));
  const wanted = Math.ceil(queries / most / 20) * 20;
  const queryBlock = Math.max(60, Math.min(MAX_QUERIES, wanted));
  const byBlas = suitsBlas(context, params, at);
  const block = byBlas ? BLAS_QUERIES : queryBlock;
  const tasks = batch * heads * Math.ceil(queries / block);
  // deno-fmt-ignore
  context.run(byBlas ? "blas_attention" : "attention", tasks, 1, ...tensors(params, at, dtype), ...layout(params),
    positions, block, format, ...dropoutOf(params));
}

/**
 * Computes dQ, dK and dV from dO, o and the first half of `lse`, recomputing the weights tile by tile. Uses the
 * second half of `lse` as scratch.
 */
export function attentionBackwardSimd(
  context: CpuContext,
  params: AttentionParams,
  at: Addresses,
): void {
  const { batch, heads, kvHeads, queries, qStart, kStart, vStart } = params;
  const { lse, dO, dQ, dK, dV } = at;
  const delta = lse! + 4 * batch * heads * queries;
  const byBlas = suitsBlas(context, params, at);
  const name = byBlas ? "blas_attention_backward" : "attention_backward";
  // deno-fmt-ignore
  context.run(name, batch * kvHeads, 1, ...tensors(params, at),
    dO!, dQ! + 4 * qStart, dK! + 4 * kStart, dV! + 4 * vStart, delta, ...layout(params), ...dropoutOf(params));
}
