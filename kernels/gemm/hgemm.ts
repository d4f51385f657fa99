/**
 * Matrix products on the CPU's threads whose right-hand side is not in f32: few rows are multiplied with it as it lies, for
 * others some of its rows at a time become f32.
 *
 * @module
 */
import type { Addresses, SimdJob } from "../../src/device/kernel.ts";
import type { MatmulParams } from "./params.ts";
import { FEW_ROWS, sgemm, vectorChunk } from "./sgemm.ts";

/** Bytes of the matrix that are unpacked at a time. */
const UNPACKED_BYTES = 2 ** 22;

/**
 * As `sgemm`, with b of f16 at `at.b`. Sums are in f32; infinities, NaN and what is subnormal in f16 count as what they are.
 * A row of few does not depend on the number of rows.
 */
export function hgemm(job: SimdJob<MatmulParams>, params: MatmulParams, at: Addresses): void {
  const { m, k, batches, transposeA, transposeB, batchInvariant } = params;
  const { size } = job.bindings.b!;
  if (k === 0) return sgemm(job, params, at); // b has no elements
  const unpack = (first: number, count: number, to: number) =>
    job.run("f16_to_f32", count, 65536, at.b! + 2 * first, to);
  if (batches !== 1) {
    const b = job.scratch(4 * size);
    unpack(0, size, b);
    sgemm(job, params, { ...at, b });
  } else if (transposeB && !transposeA && (m <= FEW_ROWS || batchInvariant)) {
    multiplyFew(job, params, at);
  } else multiplyUnpacked(job, params, at, unpack);
}

function multiplyFew(job: SimdJob<MatmulParams>, params: MatmulParams, at: Addresses): void {
  const { m, n, k, lda, ldb, ldc, alpha, beta, aOffset, bOffset, cOffset } = params;
  // As the kernel takes them.
  const length = (m - 1) * lda + k;
  const x = job.scratch(4 * length);
  job.run("mul_scalar", length, 16384, at.a! + 4 * aOffset, 2 ** -40, x);
  const chunk = vectorChunk(n, k * m, job.threads, 4);
  // deno-fmt-ignore
  job.run("hgemm_few", n, chunk, m, k, alpha * 2 ** -72, x, lda, at.b! + 2 * bOffset, ldb, at.c! + 4 * cOffset, ldc,
    beta, at.bias ?? 0);
}

/**
 * As `sgemm`, once, with rows of b as `unpack` makes f32 of them at an address: `count` numbers from `first` on. What is added
 * up from several parts along k is so in the order of k.
 */
export function multiplyUnpacked(
  job: SimdJob<MatmulParams>,
  params: MatmulParams,
  at: Addresses,
  unpack: (first: number, count: number, to: number) => void,
): void {
  const { n, k, ldb, transposeA, transposeB, lda, bOffset } = params;
  const rows = transposeB ? n : k;
  const columns = transposeB ? k : n;
  const some = Math.max(1, Math.floor(UNPACKED_BYTES / (4 * ldb)));
  const unpacked = job.scratch(4 * Math.min(some, rows) * ldb);
  for (let first = 0; first < rows; first += some) {
    const count = Math.min(some, rows - first);
    unpack(bOffset + first * ldb, (count - 1) * ldb + columns, unpacked);
    const part = transposeB
      ? { ...params, n: count, bOffset: 0, cOffset: params.cOffset + first }
      : {
        ...{ ...params, k: count, bOffset: 0, beta: first > 0 ? 1 : params.beta },
        aOffset: params.aOffset + first * (transposeA ? lda : 1),
      };
    const isLast = first + count === rows;
    const bias = !at.bias ? 0 : transposeB ? at.bias + 4 * first : isLast ? at.bias : 0;
    sgemm(job, part, { ...at, b: unpacked, bias });
  }
}
