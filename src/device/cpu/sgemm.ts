/**
 * Matrix products on the thread pool: chooses the kernel, the tiles and how threads share them.
 *
 * @module
 */
import type { ThreadPool } from "./threads.ts";

/** One product, or a batch of equal ones, of float32 matrices in the pool's memory. */
export interface SgemmOptions {
  /** Rows of C and of op(A). */
  m: number;
  /** Columns of C and of op(B). */
  n: number;
  /** Columns of op(A) and rows of op(B). */
  k: number;
  /** Byte address of A: m x k, or k x m with `transA`. */
  a: number;
  /** Elements from one row of A to the next; the width of A as stored when left out. */
  lda?: number;
  /** A is stored transposed. */
  transA?: boolean;
  /** Byte address of B: k x n, or n x k with `transB`. */
  b: number;
  /** Elements from one row of B to the next; the width of B as stored when left out. */
  ldb?: number;
  /** B is stored transposed, as the weight of a linear layer is. */
  transB?: boolean;
  /** Byte address of C: m x n. */
  c: number;
  /** Elements from one row of C to the next; n when left out. */
  ldc?: number;
  /** 1 adds to what C holds, 0 (the default) does not read it. */
  beta?: 0 | 1;
  /** Factor of the product, 1 when left out. */
  alpha?: number;
  /** Byte address of n floats added to every row; 0 for none. */
  bias?: number | undefined;
  /** Number of products, 1 when left out. */
  batch?: number | undefined;
  /** Elements from one A to the next (0 shares it); lda times the rows stored when left out. */
  strideA?: number;
  /** Elements from one B to the next (0 shares it). */
  strideB?: number;
  /** Elements from one C to the next. */
  strideC?: number;
}

/** Largest tile of C that one task computes; the kernel's scratch has room for no more. */
const MAX_ROWS = 640;
const MAX_COLUMNS = 1024;
/** Rows for which packing a transposed B costs more than it gains. */
const FEW_ROWS = 8;
/** Multiply-adds below which another thread is not worth waking. */
const MIN_WORK = 100_000;

/** The size of the tiles when `size` is cut into so many equal pieces, rounded up to `step`. */
export function tileSize(size: number, pieces: number, step: number): number {
  return Math.ceil(Math.ceil(size / pieces) / step) * step;
}

/**
 * Chooses tiles: as square as may be (packing costs the half perimeter of a tile, work its area), and at least four for
 * each thread where the work allows, so that a core that is busy elsewhere does not hold up the rest.
 */
function chooseTiles(
  m: number,
  n: number,
  k: number,
  batch: number,
  threads: number,
): [rows: number, columns: number] {
  let down = Math.ceil(m / MAX_ROWS), across = Math.ceil(n / MAX_COLUMNS);
  if (threads > 1) {
    const work = m * n * Math.max(1, k) * batch;
    const wanted = Math.min(4 * threads, Math.floor(work / MIN_WORK));
    while (batch * down * across < wanted) {
      const tall = m / down, wide = n / across;
      if (Math.max(tall, wide) < 48) break;
      if (tall > wide) down++;
      else across++;
    }
  }
  return [tileSize(m, down, 5), tileSize(n, across, 8)];
}

/**
 * C = [C +] alpha * op(A) op(B) [+ bias], once or for a whole batch.
 *
 * Results do not depend on the number of threads. With k = 0 the product is zero.
 */
export function sgemm(pool: ThreadPool, options: SgemmOptions): void {
  const { m, n, k, a, b, c } = options;
  const transA = options.transA ?? false, transB = options.transB ?? false;
  const lda = options.lda ?? (transA ? m : k), ldb = options.ldb ?? (transB ? k : n);
  const ldc = options.ldc ?? n;
  const alpha = options.alpha ?? 1, accumulate = options.beta ?? 0;
  const bias = options.bias ?? 0;
  const batch = options.batch ?? 1;
  const strideA = options.strideA ?? lda * (transA ? k : m);
  const strideB = options.strideB ?? ldb * (transB ? n : k);
  const strideC = options.strideC ?? ldc * m;
  if (m * n * batch === 0) return;

  if (m === 1 && (!transA || lda === 1)) {
    // deno-fmt-ignore
    pool.run("sgemv", batch * n, vectorChunk(batch * n, k, pool.threads), n, k, alpha,
      a, strideA, b, ldb, strideB, Number(transB), c, 1, strideC, accumulate, bias, 1);
    return;
  }
  if (n === 1 && (transB || ldb === 1)) {
    // deno-fmt-ignore
    pool.run("sgemv", batch * m, vectorChunk(batch * m, k, pool.threads), m, k, alpha,
      b, strideB, a, lda, strideA, Number(!transA), c, ldc, strideC, accumulate, bias, 0);
    return;
  }
  if (m <= FEW_ROWS && !transA && transB) {
    const chunk = Math.ceil(vectorChunk(batch * n, k * m, pool.threads) / 2) * 2;
    // deno-fmt-ignore
    pool.run("sgemm_few", batch * n, chunk, m, n, k, alpha, a, lda, strideA, b, ldb, strideB,
      c, ldc, strideC, accumulate, bias);
    return;
  }
  const [rows, columns] = chooseTiles(m, n, k, batch, pool.threads);
  const tiles = batch * Math.ceil(m / rows) * Math.ceil(n / columns);
  // Many small products: take several at a time.
  const chunk = Math.max(
    1,
    Math.min(
      Math.floor(MIN_WORK / (Math.min(m, rows) * Math.min(n, columns) * Math.max(1, k))),
      Math.ceil(tiles / (4 * pool.threads)),
    ),
  );
  // deno-fmt-ignore
  pool.run("sgemm", tiles, chunk, m, n, k, alpha, a, lda, strideA, Number(transA),
    b, ldb, strideB, Number(transB), c, ldc, strideC, accumulate, bias, rows, columns);
}

/** Outputs of a matrix-vector product that a thread takes at once. */
function vectorChunk(outputs: number, k: number, threads: number): number {
  const min = Math.ceil(MIN_WORK / Math.max(1, k));
  return Math.ceil(Math.max(min, outputs / (4 * threads)) / 16) * 16;
}
