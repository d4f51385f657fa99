/**
 * Kernels of the thread pool that multiply with the machine's BLAS: the matrix product, and attention around it. Each
 * function here also runs in workers, from its source text, so it must not use anything but its arguments.
 *
 * @module
 */
import type { ThreadKernel, WasmFunctions } from "./threads.ts";

/** `cblas_sgemm` as FFI provides it. */
export type Sgemm = (
  order: number,
  transposeA: number,
  transposeB: number,
  m: number,
  n: number,
  k: number,
  alpha: number,
  a: BufferSource,
  lda: number,
  b: BufferSource,
  ldb: number,
  beta: number,
  c: BufferSource,
  ldc: number,
) => void;

/** `C = alpha op(A) op(B) + beta C` for row-major matrices at addresses of the shared memory. */
export type Product = (
  transposeA: number,
  transposeB: number,
  m: number,
  n: number,
  k: number,
  alpha: number,
  a: number,
  lda: number,
  b: number,
  ldb: number,
  beta: number,
  c: number,
  ldc: number,
) => void;

/** The product, with addresses instead of arrays. */
export function productOf(sgemm: Sgemm, memory: WebAssembly.Memory): Product {
  const view = (address: number): Float32Array<ArrayBuffer> => {
    // Another thread may have grown the memory; growing by 0 updates this thread's view.
    if (address >= memory.buffer.byteLength) memory.grow(0);
    // `buffer` parameters take a shared memory, too.
    return new Float32Array(memory.buffer as ArrayBuffer, address, 1);
  };
  const ROW_MAJOR = 101, NO = 111, YES = 112;
  // deno-fmt-ignore
  return (transposeA, transposeB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) =>
    sgemm(ROW_MAJOR, transposeA ? YES : NO, transposeB ? YES : NO, m, n, k,
      alpha, view(a), lda, view(b), ldb, beta, view(c), ldc);
}

/**
 * Computes the tiles [start, end) of a batch of products, with the arguments of the WASM kernel `sgemm`, but with any
 * `beta` and no bias.
 */
export function productKernel(product: Product): ThreadKernel {
  const matrix = (
    at: number,
    item: number,
    inner: number,
    outerStride: number,
    innerStride: number,
  ) => at + 4 * (Math.floor(item / inner) * outerStride + item % inner * innerStride);
  // deno-fmt-ignore
  return (_thread, start, end, m, n, k, alpha, inner, a, lda, aOuter, aInner, transposeA,
    b, ldb, bOuter, bInner, transposeB, c, ldc, cOuter, cInner, beta, _bias, rows, columns) => {
    const down = Math.ceil(m / rows), across = Math.ceil(n / columns);
    for (let task = start; task < end; task++) {
      const item = Math.floor(task / (down * across)), tile = task % (down * across);
      const top = tile % down * rows, left = Math.floor(tile / down) * columns;
      const aHere = matrix(a, item, inner, aOuter, aInner) + 4 * top * (transposeA ? 1 : lda);
      const bHere = matrix(b, item, inner, bOuter, bInner) + 4 * left * (transposeB ? ldb : 1);
      const cHere = matrix(c, item, inner, cOuter, cInner) + 4 * (top * ldc + left);
      product(transposeA, transposeB, Math.min(rows, m - top), Math.min(columns, n - left), k,
        alpha, aHere, lda, bHere, ldb, beta, cHere, ldc);
    }
  };
}

/** The WASM kernel `attention` with its products by BLAS; without `positions`. */
export function attentionKernel(product: Product, wasm: WasmFunctions): ThreadKernel {
  const KEYS = 256; // at a time
  const { heap_base, first_seen, end_seen } = wasm;
  // deno-fmt-ignore
  return (thread, start, end, q, k, v, o, lse, keyValid, heads, kvHeads, queries, keys, d,
    qBatch, qHead, qTime, kBatch, kHead, kTime, vBatch, vHead, vTime, oBatch, oHead, oTime,
    validBatch, scale, step, block, window, position, _positions, queryBlock, format, ...dropout) => {
    const scores = heap_base!(thread) >>> 0; // the thread's scratch memory
    const states = scores + 4 * queryBlock * KEYS, factors = states + 8 * queryBlock;
    const kTile = factors + 4 * KEYS, vTile = kTile + 4 * KEYS * d; // what is not f32 is converted here
    const bytes = format === 1 ? 2 : 4, kRow = format ? d : kTime, vRow = format ? d : vTime;
    const blocks = Math.ceil(queries / queryBlock), fours = Math.ceil(keys / 4);
    for (let task = start; task < end; task++) {
      const head = Math.floor(task / blocks) % heads, item = Math.floor(task / (blocks * heads));
      const kvHead = Math.floor(head / (heads / kvHeads));
      const first = task % blocks * queryBlock, rows = Math.min(queryBlock, queries - first);
      const here = position + first, last = here + rows - 1;
      const row = (item * heads + head) * queries + first;
      const qAt = q + 4 * (item * qBatch + head * qHead + first * qTime);
      const oAt = o + 4 * (item * oBatch + head * oHead + first * oTime);
      const valid = keyValid && keyValid + 4 * item * validBatch;
      const limit = end_seen!(last, step, 0, keys);
      wasm.begin_attention!(states, oAt, 4 * oTime, rows, d);
      const firstKey = first_seen!(here, block, window, 0, keys);
      for (let j = firstKey - firstKey % KEYS; j < limit; j += KEYS) {
        const width = Math.min(KEYS, limit - j);
        const from = first_seen!(here, block, window, j, width) & ~7; // blocks of random numbers are of four
        const seen = end_seen!(last, step, j, width) - from;
        if (seen <= 0) continue;
        let kAt = k + bytes * (item * kBatch + kvHead * kHead + (j + from) * kTime);
        let vAt = v + bytes * (item * vBatch + kvHead * vHead + (j + from) * vTime);
        if (format) {
          wasm.heads_to_f32!(format, kAt, kTime, 0, seen, 1, d, kTile);
          wasm.heads_to_f32!(format, vAt, vTime, 0, seen, 1, d, vTile);
          kAt = kTile;
          vAt = vTile;
        }
        product(0, 1, rows, seen, d, scale, qAt, qTime, kAt, kRow, 0, scores, KEYS);
        wasm.fold_attention!(scores, 4 * KEYS, rows, here, step, block, window, j, width, from, seen,
          valid && valid + 4 * j, states, oAt, 4 * oTime, d, factors, row * fours, fours, ...dropout);
        product(0, 0, rows, d, seen, 1, scores, KEYS, vAt, vRow, 1, oAt, oTime);
      }
      wasm.finish_attention!(oAt, 4 * oTime, oAt, 4 * oTime, states, rows, d, lse && lse + 4 * row);
    }
  };
}

/** The WASM kernel `attention_backward` with its products by BLAS. */
export function attentionBackwardKernel(product: Product, wasm: WasmFunctions): ThreadKernel {
  const KEYS = 256, ROWS = 128; // at a time
  const { heap_base, first_seen, end_seen, zero_rows } = wasm;
  // deno-fmt-ignore
  return (thread, start, end, q, k, v, o, lse, keyValid, dO, dQ, dK, dV, delta,
    heads, kvHeads, queries, keys, d, qBatch, qHead, qTime, kBatch, kHead, kTime,
    vBatch, vHead, vTime, oBatch, oHead, oTime, validBatch, scale, step, block, window, position,
    ...dropout) => {
    const p = heap_base!(thread) >>> 0, ds = p + 4 * ROWS * KEYS, factors = ds + 4 * ROWS * KEYS;
    const group = heads / kvHeads, fours = Math.ceil(keys / 4);
    for (let task = start; task < end; task++) {
      const item = Math.floor(task / kvHeads), kvHead = task % kvHeads;
      const valid = keyValid && keyValid + 4 * item * validBatch;
      const headsOf = Array.from({ length: group }, (_, g) => {
        const head = kvHead * group + g;
        const qOffset = 4 * (item * qBatch + head * qHead), oOffset = 4 * (item * oBatch + head * oHead);
        return { row: (item * heads + head) * queries, qOffset, oOffset };
      });
      for (const { row, qOffset, oOffset } of headsOf) {
        wasm.begin_attention_backward!(o + oOffset, dO + oOffset, 4 * oTime, dQ + qOffset, 4 * qTime,
          delta + 4 * row, queries, d);
      }
      for (let j = 0; j < keys; j += KEYS) {
        const width = Math.min(KEYS, keys - j), lastKey = j + width - 1;
        const kOffset = 4 * (item * kBatch + kvHead * kHead + j * kTime);
        const vOffset = 4 * (item * vBatch + kvHead * vHead + j * vTime);
        zero_rows!(dK + kOffset, 4 * kTime, width, d);
        zero_rows!(dV + vOffset, 4 * vTime, width, d);
        // From the first query that sees the first key to the last that sees the last key.
        const begin = step ? Math.max(0, (j + 1) * step - 1 - position) : 0;
        const until = Math.min(queries,
          block ? (Math.floor(lastKey / block) + 1) * block - position : Infinity,
          window ? lastKey + window - position : Infinity);
        for (const { row, qOffset, oOffset } of headsOf) {
          for (let first = begin - begin % ROWS; first < until; first += ROWS) {
            const rows = Math.min(ROWS, queries - first), here = position + first;
            const from = first_seen!(here, block, window, j, width) & ~7;
            const seen = end_seen!(here + rows - 1, step, j, width) - from;
            if (seen <= 0) continue;
            const qAt = qOffset + 4 * first * qTime, oAt = dO + oOffset + 4 * first * oTime;
            const kAt = kOffset + 4 * from * kTime, vAt = vOffset + 4 * from * vTime;
            const own = 4 * (row + first);
            product(0, 1, rows, seen, d, scale, q + qAt, qTime, k + kAt, kTime, 0, p, KEYS);
            product(0, 1, rows, seen, d, 1, oAt, oTime, v + vAt, vTime, 0, ds, KEYS);
            wasm.gradients_of_attention!(p, ds, 4 * KEYS, rows, here, step, block, window, j, width, from, seen,
              valid && valid + 4 * j, lse + own, delta + own, scale, factors, (row + first) * fours, fours, ...dropout);
            product(0, 0, rows, d, seen, 1, ds, KEYS, k + kAt, kTime, 1, dQ + qAt, qTime);
            product(1, 0, seen, d, rows, 1, p, KEYS, oAt, oTime, 1, dV + vAt, vTime);
            product(1, 0, seen, d, rows, 1, ds, KEYS, q + qAt, qTime, 1, dK + kAt, kTime);
          }
        }
      }
    }
  };
}
