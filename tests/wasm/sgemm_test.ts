import assert from "node:assert/strict";
import { matmulParams, type PartialMatmulParams } from "../../kernels/gemm/params.ts";
import { sgemm } from "../../kernels/gemm/sgemm.ts";
import { ThreadPool } from "../../src/device/cpu/threads.ts";
import { Arena, random, randoms, worst } from "./helpers.ts";
import { assertSame } from "../support/compare.ts";

type Case = PartialMatmulParams & { withBias?: boolean; pad?: number };

/** Runs a case on a pool; gives what the kernel wrote and what float64 loops give. */
function multiply(pool: ThreadPool, test: Case, from?: number): [Float32Array, Float64Array] {
  const { m, n, k, transposeA = 0, transposeB = 0, pad = 0, withBias = false, ...rest } = test;
  const arena = new Arena(pool, from);
  const p = matmulParams({
    ...{ m, n, k, transposeA, transposeB, ...rest },
    ...{ lda: (transposeA ? m : k) + pad, ldb: (transposeB ? k : n) + pad, ldc: n + pad },
  });
  const { lda, ldb, ldc, alpha, beta, batches } = p;
  const sizeA = lda * (transposeA ? k : m), sizeB = ldb * (transposeB ? n : k), sizeC = ldc * m;
  const A = randoms(sizeA * batches, 1), B = randoms(sizeB * batches, 2);
  const C = randoms(sizeC * batches, 3);
  const bias = randoms(n, 4);
  const a = arena.put(A), b = arena.put(B), c = arena.put(C);
  sgemm(pool, p, { a, b, c, bias: withBias ? arena.put(bias) : 0 });
  // The first elements of the matrices of product q.
  const at = (q: number, outer: number, inner: number) =>
    Math.floor(q / p.inner) * outer + q % p.inner * inner;
  const expected = Float64Array.from(C);
  for (let q = 0; q < batches; q++) {
    const aAt = at(q, p.aOuter, p.aInner), bAt = at(q, p.bOuter, p.bInner);
    const cAt = at(q, p.cOuter, p.cInner);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) {
          sum += A[aAt + (transposeA ? l * lda + i : i * lda + l)] *
            B[bAt + (transposeB ? j * ldb + l : l * ldb + j)];
        }
        const to = cAt + i * ldc + j;
        expected[to] = (beta ? C[to] : 0) + alpha * sum + (withBias ? bias[j] : 0);
      }
    }
  }
  return [arena.floats(c, sizeC * batches).slice(), expected];
}

const CASES: Case[] = [];
for (const transposeA of [0, 1]) {
  for (const transposeB of [0, 1]) {
    const flags = { transposeA, transposeB };
    CASES.push(
      { m: 1, n: 1, k: 1, ...flags },
      { m: 5, n: 8, k: 4, ...flags },
      { m: 7, n: 13, k: 9, pad: 3, alpha: 0.5, ...flags },
      { m: 11, n: 17, k: 300, beta: 1, withBias: true, pad: 1, ...flags },
      { m: 1, n: 203, k: 77, beta: 1, withBias: true, ...flags },
      { m: 1, n: 1030, k: 33, batches: 3, alpha: -2, ...flags },
      { m: 133, n: 1, k: 50, withBias: true, ...flags },
      { m: 3, n: 5, k: 0, beta: 1, ...flags },
      { m: 3, n: 5, k: 0, withBias: true, ...flags },
      { m: 1, n: 5, k: 0, ...flags },
      { m: 6, n: 10, k: 7, batches: 41, ...flags },
      { m: 6, n: 10, k: 7, batches: 5, bInner: 0, ...flags },
      // Three times two products: B of the outer ones is shared, or that of the inner ones.
      { m: 6, n: 10, k: 7, batches: 6, inner: 2, bOuter: 0, ...flags },
      { m: 8, n: 33, k: 20, batches: 6, inner: 2, bOuter: 660, bInner: 0, ...flags },
      { m: 1, n: 33, k: 20, batches: 6, inner: 2, bOuter: 660, bInner: 0, ...flags },
      { m: 33, n: 1, k: 20, batches: 6, inner: 2, aOuter: 0, ...flags },
      { m: 8, n: 301, k: 131, beta: 1, withBias: true, pad: 2, ...flags },
      { m: 5, n: 33, k: 1030, batches: 3, alpha: -2, ...flags },
      { m: 700, n: 30, k: 20, ...flags },
      { m: 20, n: 1100, k: 20, ...flags },
    );
  }
}

Deno.test("sgemm() agrees with float64 loops on every layout and odd size", () => {
  using pool = ThreadPool.start({ threads: 2 });
  for (const test of CASES) {
    const [actual, expected] = multiply(pool, test);
    const error = worst(actual, expected);
    assert(error < 3e-6 * Math.sqrt(test.k + 1), `${JSON.stringify(test)}: error ${error}`);
  }
});

Deno.test("sgemm() gives the same bits on 1 and 3 threads", () => {
  using one = ThreadPool.start({ threads: 1 });
  using three = ThreadPool.start({ threads: 3 });
  three.waitForWorkers();
  for (const test of [...CASES, { m: 130, n: 250, k: 530 }]) {
    const [single] = multiply(one, test), [several] = multiply(three, test);
    assertSame(several, single, JSON.stringify(test));
  }
});

Deno.test("sgemm() leaves empty products alone", () => {
  using pool = ThreadPool.start({ threads: 1 });
  const nowhere = { a: 0xfffffff0, b: 0xfffffff0, c: 0xfffffff0 };
  for (const [m, n, batches] of [[0, 3, 1], [3, 0, 1], [3, 3, 0]]) {
    sgemm(pool, matmulParams({ m, n, k: 2, batches }), nowhere);
  }
});

Deno.test("sgemm() works at addresses above 2 GiB", () => {
  using pool = ThreadPool.start({ threads: 2 });
  const next = random(9);
  for (const transposeB of [0, 1]) {
    for (const m of [1, 6, 33]) {
      const from = 2 ** 31 + 16 * Math.floor(1000 * (1 + next()));
      const [actual, expected] = multiply(pool, { m, n: 41, k: 29, transposeB, beta: 1 }, from);
      assert(worst(actual, expected) < 1e-5);
    }
  }
});

Deno.test("sgemm() reads nothing below the heap when there is no bias", () => {
  using pool = ThreadPool.start({ threads: 1 });
  const size = 512;
  for (const m of [1, 6, 17]) {
    const arena = new Arena(pool);
    const a = arena.put(new Float32Array(m * 3)), b = arena.put(new Float32Array(3 * size));
    const c = arena.out(m * size);
    // Rows of C that are 2 KiB apart: a null address that is stepped by them meets the tables and the scratch.
    sgemm(pool, matmulParams({ m, n: size, k: 3 }), { a, b, c });
    assertSame(arena.floats(c, m * size).slice(), new Float32Array(m * size));
  }
});
