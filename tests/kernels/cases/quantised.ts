import { matmulParams, type PartialMatmulParams } from "../../../kernels/gemm/params.ts";
import { quantisedMatmuls } from "../../../kernels/gemm/quantised_matmul.ts";
import { quantisedEmbeddings } from "../../../kernels/indexing/quantised_embedding.ts";
import type { QuantisedType } from "../../../src/device/dtype.ts";
import { quantised, quantisedLayout } from "../../../src/device/quantised.ts";
import { decodeGgml, encodeGgml } from "../../../src/io/ggml_blocks.ts";
import { type Case, output, random, randomIds } from "../case.ts";

const TYPES = ["q8_0", "q4_0"] as const;
const STORED = { q8_0: "Q8_0", q4_0: "Q4_0" } as const;

/** Codes and scales of random numbers, and the numbers that they stand for. */
function matrix(type: QuantisedType, size: number) {
  const numbers = random(size, 1, 2);
  const words = new Uint32Array(quantised(type, numbers).buffer);
  const { codeWords, scaleStart, scaleWords } = quantisedLayout(type, size);
  return {
    values: decodeGgml(STORED[type], encodeGgml(STORED[type], numbers)),
    codes: words.slice(0, codeWords),
    scales: words.slice(scaleStart, scaleStart + scaleWords),
  };
}

function product(type: QuantisedType, options: PartialMatmulParams): Case {
  const params = matmulParams(options);
  const { m, n, k, transposeA, transposeB, lda, ldb, alpha, beta } = params;
  const { values, codes, scales } = matrix(type, n * k);
  const a = random(m * k, 1, 1), bias = random(n, 1, 4);
  const c = beta ? random(m * n, 1, 3) : output(m * n);
  const at = (i: number, l: number) => a[transposeA ? l * lda + i : i * lda + l];
  const bt = (j: number, l: number) => values[transposeB ? j * ldb + l : l * ldb + j];
  return {
    kernel: quantisedMatmuls[type],
    name: `${m} x ${k} x ${n}${transposeB ? "" : ", as for gradients"}`,
    bindings: { a, codes, scales, c, bias },
    params,
    // SIMD rounds few rows to 8 bits and many to 7.
    tolerance: (!transposeB || transposeA ? 5e-5 : m > 16 ? 1e-2 : 5e-3) * Math.sqrt(k),
    exactTolerance: 5e-5 * Math.sqrt(k),
    exact: () => ({
      c: Float64Array.from({ length: m * n }, (_, index) => {
        const i = Math.floor(index / n), j = index % n;
        let sum = 0;
        for (let l = 0; l < k; l++) sum += at(i, l) * bt(j, l);
        return alpha * sum + bias[j] + (beta ? c[index] : 0);
      }),
    }),
  };
}

function looked(type: QuantisedType, rows: number, columns: number, vocabulary: number): Case {
  const { values, codes, scales } = matrix(type, vocabulary * columns);
  const ids = randomIds(rows, vocabulary);
  return {
    kernel: quantisedEmbeddings[type],
    name: `${rows} rows of ${columns} from ${vocabulary}`,
    bindings: { ids, codes, scales, y: output(rows * columns) },
    params: { rows, columns, vocabulary },
    exact: () => ({
      y: Array.from({ length: rows * columns }, (_, i) => {
        return values[ids[Math.floor(i / columns)] * columns + i % columns];
      }),
    }),
    tolerance: 1e-6,
  };
}

export const cases: Case[] = TYPES.flatMap((type) => [
  product(type, { m: 1, n: 130, k: 288, transposeB: 1 }),
  product(type, { m: 3, n: 37, k: 96, transposeB: 1, alpha: 0.5, beta: 1 }),
  product(type, { m: 40, n: 70, k: 160, transposeB: 1 }),
  product(type, { m: 33, n: 96, k: 37 }),
  product(type, { m: 20, n: 32, k: 65, transposeA: 1, beta: 1 }),
  looked(type, 7, 96, 11),
  looked(type, 0, 32, 5),
]);
