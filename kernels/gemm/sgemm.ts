/**
 * Matrix products on the CPU's threads: the choice between BLAS and the WASM kernels, the tiles, and how threads
 * share them.
 *
 * @module
 */
import type { Addresses, CpuContext } from "../../src/device/kernel.ts";
import type { MatmulParams } from "./params.ts";

/** The largest tile of C that one task computes; no larger one fits into the WASM kernel's scratch memory. */
const MAX_ROWS = 640;
const MAX_COLUMNS = 1024;
/** Up to this many rows, packing a transposed B costs more than it gains. */
export const FEW_ROWS = 16;
/** Multiply-adds below which waking another thread does not pay. */
export const MIN_WORK = 100_000;

/** Multiply-adds below which the WASM kernel is as fast as a call into BLAS. */
const MIN_BLAS_WORK = 8192;
/** Multiply-adds in BLAS below which waking another thread does not pay. */
const MIN_BLAS_TILE_WORK = 500_000;
/** The least rows and columns of a tile for BLAS, which packs the operands of each tile. */
const MIN_BLAS_TILE = 64;

/**
 * C = [beta C +] alpha op(A) op(B) [+ bias], single or batched, in float32 at the addresses of `a`, `b`, `c` and
 * `bias`; `beta` is 0 or 1. Without BLAS the results do not depend on the number of threads. With `batchInvariant` a
 * row does not depend on the number of rows, since `sgemv` and `sgemm_few` sum in the same order.
 */
export function sgemm(context: CpuContext, params: MatmulParams, addresses: Addresses): void {
  const { threads, blas } = context;
  const { m, n, k, lda, ldb, ldc, batches, inner, alpha, beta, transposeA, transposeB } = params;
  const { batchInvariant } = params;
  const { aOuter, aInner, bOuter, bInner, cOuter, cInner } = params;
  if (m * n * batches === 0) return;
  const a = addresses.a! + 4 * params.aOffset;
  const b = addresses.b! + 4 * params.bOffset;
  const c = addresses.c! + 4 * params.cOffset;
  const { bias = 0 } = addresses;

  if (m === 1 && (!transposeA || lda === 1)) {
    // deno-fmt-ignore
    context.run("sgemv", batches * n, vectorChunk(batches * n, k, threads), n, k, alpha, inner,
      a, aOuter, aInner, b, ldb, bOuter, bInner, transposeB, c, 1, cOuter, cInner, beta, bias, 1);
    return;
  }
  if (n === 1 && (transposeB || ldb === 1)) {
    // deno-fmt-ignore
    context.run("sgemv", batches * m, vectorChunk(batches * m, k, threads), m, k, alpha, inner,
      b, bOuter, bInner, a, lda, aOuter, aInner, 1 - transposeA, c, ldc, cOuter, cInner, beta, bias, 0);
    return;
  }
  const byBlas = blas && !batchInvariant && suitsBlas(params, bias);
  if (!byBlas && (m <= FEW_ROWS || batchInvariant) && !transposeA && transposeB) {
    const chunk = vectorChunk(batches * n, k * m, threads);
    // deno-fmt-ignore
    context.run("sgemm_few", batches * n, chunk, m, n, k, alpha, inner,
      a, lda, aOuter, aInner, b, ldb, bOuter, bInner, c, ldc, cOuter, cInner, beta, bias);
    return;
  }
  const { rows, columns, chunk } = byBlas
    ? blasTiles(params, blas.singleThreaded ? threads : 1)
    : wasmTiles(params, threads);
  const tiles = batches * Math.ceil(m / rows) * Math.ceil(n / columns);
  // deno-fmt-ignore
  context.run(byBlas ? "blas_product" : "sgemm", tiles, chunk, m, n, k, alpha, inner,
    a, lda, aOuter, aInner, transposeA, b, ldb, bOuter, bInner, transposeB, c, ldc, cOuter, cInner,
    beta, bias, rows, columns);
  if (byBlas && bias) {
    context.run("row_add", batches * m, Math.max(1, Math.ceil(16384 / n)), c, bias, c, n);
  }
}

/** True if BLAS is faster and C has a layout to which a bias can be added afterwards. */
function suitsBlas(params: MatmulParams, bias: number): boolean {
  const { m, n, k, ldc, batches, inner, cOuter, cInner } = params;
  const packed = ldc === n &&
    (batches === 1 || (cInner === m * n && cOuter === inner * cInner));
  return m > 1 && n > 1 && m * n * k >= MIN_BLAS_WORK && (packed || !bias);
}

/** How a product is split: the rows and columns of a tile of C, and how many tiles a thread takes at a time. */
interface Tiles {
  readonly rows: number;
  readonly columns: number;
  readonly chunk: number;
}

/**
 * Tiles for the WASM kernel. They are nearly square (packing costs in proportion to the half perimeter of a tile,
 * work to its area), and there are at least four for each thread if the work allows, so that a busy core does not
 * hold up the rest.
 */
function wasmTiles({ m, n, k, batches }: MatmulParams, threads: number): Tiles {
  let down = Math.ceil(m / MAX_ROWS), across = Math.ceil(n / MAX_COLUMNS);
  if (threads > 1) {
    const work = m * n * Math.max(1, k) * batches;
    const wanted = Math.min(4 * threads, Math.floor(work / MIN_WORK));
    while (batches * down * across < wanted) {
      const tall = m / down, wide = n / across;
      if (Math.max(tall, wide) < 48) break;
      if (tall > wide) down++;
      else across++;
    }
  }
  const rows = tileSize(m, down, 5), columns = tileSize(n, across, 8);
  const tiles = batches * Math.ceil(m / rows) * Math.ceil(n / columns);
  // Many small products: take several at a time.
  const small = MIN_WORK / (Math.min(m, rows) * Math.min(n, columns) * Math.max(1, k));
  const chunk = Math.max(1, Math.min(Math.floor(small), Math.ceil(tiles / (4 * threads))));
  return { rows, columns, chunk };
}

/** Tiles for BLAS: two for each thread, or all of a small C. */
function blasTiles({ m, n, k, batches }: MatmulParams, threads: number): Tiles {
  let down = 1, across = 1;
  const wanted = threads === 1
    ? 1
    : Math.min(2 * threads, m * n * k * batches / MIN_BLAS_TILE_WORK);
  while (batches * down * across < wanted) {
    const tall = m / down, wide = n / across;
    if (Math.max(tall, wide) < 2 * MIN_BLAS_TILE) break;
    if (tall > wide) down++;
    else across++;
  }
  const rows = tileSize(m, down, 16), columns = tileSize(n, across, 16);
  return {
    rows,
    columns,
    chunk: Math.max(1, Math.floor(MIN_BLAS_TILE_WORK / (rows * columns * k))),
  };
}

/** The size of the tiles if `size` is cut into `pieces` equal pieces, rounded up to a multiple of `step`. */
function tileSize(size: number, pieces: number, step: number): number {
  return Math.ceil(Math.ceil(size / pieces) / step) * step;
}

/**
 * The outputs that a thread takes at a time in a product of a few rows with `work` multiply-adds for each: all where waking
 * another thread does not pay, else a small multiple of `step`, so that no thread waits long for the last of another.
 */
export function vectorChunk(outputs: number, work: number, threads: number, step = 16): number {
  if (outputs * work <= MIN_WORK) return Math.max(1, outputs);
  const least = MIN_WORK / 4 / Math.max(1, work);
  return Math.ceil(Math.max(least, outputs / (16 * threads)) / step) * step;
}
