import { matmul } from "../../../kernels/gemm/matmul.ts";
import { matmulParams, type PartialMatmulParams } from "../../../kernels/gemm/params.ts";
import { type Case, output, random } from "../case.ts";

function product(name: string, options: PartialMatmulParams, more: Partial<Case> = {}): Case {
  const params = matmulParams(options);
  const { m, n, k, batches, transposeA, transposeB, lda, ldb, alpha, beta } = params;
  const a = random(Math.max(1, batches * m * k), 1, 1);
  const b = random(Math.max(1, batches * n * k), 1, 2);
  const c = beta ? random(batches * m * n, 1, 3) : output(batches * m * n);
  const bias = random(n, 1, 4);
  return {
    kernel: matmul,
    name: `${name} ${m} x ${k} x ${n}`,
    bindings: { a, b, c, bias },
    params,
    tolerance: 1e-5 * Math.max(1, Math.sqrt(k)),
    exact() {
      const expected = new Float64Array(c.length);
      for (let p = 0; p < batches; p++) {
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            let sum = 0;
            for (let l = 0; l < k; l++) {
              sum += a[p * m * k + (transposeA ? l * lda + i : i * lda + l)] *
                b[p * n * k + (transposeB ? j * ldb + l : l * ldb + j)];
            }
            const at = (p * m + i) * n + j;
            expected[at] = alpha * sum + bias[j] + (beta ? c[at] : 0);
          }
        }
      }
      return { c: expected };
    },
    ...more,
  };
}

export const cases: Case[] = [
  product("plain", { m: 33, n: 17, k: 65 }),
  product("both transposed", { m: 33, n: 17, k: 65, transposeA: 1, transposeB: 1 }),
  product("a batch", { m: 20, n: 36, k: 40, batches: 3, transposeB: 1 }),
  product("added, halved", { m: 64, n: 64, k: 64, transposeA: 1, alpha: 0.5, beta: 1 }),
  product("one row", { m: 1, n: 130, k: 129, transposeB: 1 }),
  product("one column", { m: 130, n: 1, k: 129 }),
  product("nothing to sum", { m: 5, n: 6, k: 0 }),
];
