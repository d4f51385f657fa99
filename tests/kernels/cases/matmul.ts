import { matmul } from "../../../kernels/gemm/matmul.ts";
import { matmulParams, type PartialMatmulParams } from "../../../kernels/gemm/params.ts";
import { unaryBackwardKernels, unaryKernels } from "../../../kernels/elementwise/unary.ts";
import type { Kernel, Params } from "../../../src/device/kernel.ts";
import { type Case, output, random } from "../case.ts";

function product(name: string, options: PartialMatmulParams, more: Partial<Case> = {}): Case {
  const params = matmulParams(options);
  const { m, n, k, batches, transposeA, transposeB, lda, ldb, alpha, beta } = params;
  const a = random(Math.max(1, batches * m * k), 1, 1);
  const b = random(Math.max(1, batches * n * k), 1, 2);
  const c = beta ? random(batches * m * n, 1, 3) : output(batches * m * n);
  const bias = random(n, 1, 4);
  // Without gaps and once, as it is where there is a residual.
  const residual = batches === 1 && !beta && !options.activation ? random(m * n, 1, 6) : undefined;
  return {
    kernel: matmul,
    name: `${name} ${m} x ${k} x ${n}`,
    bindings: { a, b, c, bias, residual },
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
            expected[at] = alpha * sum + bias[j] + (residual?.[at] ?? 0) + (beta ? c[at] : 0);
          }
        }
      }
      return { c: expected };
    },
    ...more,
  };
}

/** A product with an activation function, or times its slope, which the reference of an elementwise kernel gives. */
function activated(
  name: string,
  elementwise: Kernel<Params>,
  options: PartialMatmulParams,
): Case {
  const one = product(name, options);
  const { c, ...bindings } = one.bindings;
  const pre = options.derivative ? random(c!.length, 2, 5) : output(c!.length);
  return {
    ...one,
    bindings: { ...bindings, c, pre },
    exact() {
      const value = Float32Array.from(one.exact!().c);
      const y = new Float32Array(value.length);
      const params = { count: y.length, float: 1 };
      const operands = options.derivative ? { a: value, b: pre } : { a: value };
      elementwise.cpu({ ...operands, y }, params);
      return { c: y, pre: options.derivative ? pre : value };
    },
  };
}

/** A product with the row sums of op(a), which is transposed. */
function summed(name: string, options: PartialMatmulParams): Case {
  const one = product(name, { ...options, transposeA: 1 });
  const { m, k, lda, batches, alpha, beta } = matmulParams({ ...options, transposeA: 1 });
  const { a, ...others } = one.bindings;
  const rowSums = beta ? random(batches * m, 1, 7) : output(batches * m);
  return {
    ...one,
    bindings: { a, ...others, rowSums },
    exact: () => ({
      ...one.exact!(),
      rowSums: Array.from(rowSums, (before, at) => {
        const first = Math.floor(at / m) * m * k + at % m;
        let sum = 0;
        for (let l = 0; l < k; l++) sum += a![first + l * lda];
        return alpha * sum + (beta ? beta * before : 0);
      }),
    }),
  };
}

/** A product with b of f16 beside the others of f32, each with what its rounded numbers give. */
function mixed(name: string, options: PartialMatmulParams): Case {
  const { bindings, exact, ...one } = product(name, options);
  const b = Float16Array.from(bindings.b!);
  bindings.b!.set(b); // what `exact` reads
  return { ...one, bindings: { ...bindings, b }, exact };
}

const { geluErf, geluTanh, relu, reluSquared } = unaryKernels;
const slopes = unaryBackwardKernels;

export const cases: Case[] = [
  activated("GELU", geluErf, { m: 9, n: 17, k: 25, transposeB: 1, activation: 1 }),
  activated("GELU by tanh", geluTanh, { m: 40, n: 36, k: 28, transposeB: 1, activation: 2 }),
  activated("ReLU", relu, { m: 3, n: 36, k: 28, transposeB: 1, activation: 3 }),
  activated("squared ReLU", reluSquared, { m: 2, n: 9, k: 28, transposeB: 1, activation: 4 }),
  activated("slope of squared ReLU", slopes.reluSquared, {
    ...{ m: 2, n: 9, k: 28, activation: 4, derivative: 1 },
  }),
  activated("slope of GELU", slopes.geluErf, { m: 12, n: 36, k: 28, activation: 1, derivative: 1 }),
  activated("slope of GELU by tanh", slopes.geluTanh, {
    ...{ m: 13, n: 17, k: 25, activation: 2, derivative: 1 },
  }),
  activated("slope of ReLU", slopes.relu, { m: 1, n: 36, k: 28, activation: 3, derivative: 1 }),
  product("plain", { m: 33, n: 17, k: 65 }),
  product("both transposed", { m: 33, n: 17, k: 65, transposeA: 1, transposeB: 1 }),
  product("a batch", { m: 20, n: 36, k: 40, batches: 3, transposeB: 1 }),
  product("added, halved", { m: 64, n: 64, k: 64, transposeA: 1, alpha: 0.5, beta: 1 }),
  product("one row", { m: 1, n: 130, k: 129, transposeB: 1 }),
  product("one column", { m: 130, n: 1, k: 129 }),
  mixed("b of f16, one row,", { m: 1, n: 37, k: 75, transposeB: 1 }),
  mixed("b of f16, a few rows,", { m: 6, n: 9, k: 21, transposeB: 1, alpha: 0.5, beta: 1 }),
  mixed("b of f16,", { m: 12, n: 36, k: 28, transposeB: 1 }),
  mixed("b of f16, not transposed,", { m: 5, n: 36, k: 28 }),
  mixed("a batch with b of f16", { m: 3, n: 20, k: 12, batches: 3, transposeB: 1 }),
  product("nothing to sum", { m: 5, n: 6, k: 0 }),
  summed("row sums, one row", { m: 1, n: 9, k: 21 }),
  summed("row sums, a few rows", { m: 6, n: 36, k: 28 }),
  summed("row sums, added", { m: 33, n: 137, k: 19, beta: 1 }),
  summed("row sums, halved", { m: 68, n: 140, k: 52, alpha: 0.5 }),
  summed("row sums of a batch", { m: 132, n: 36, k: 20, batches: 67 }),
  summed("row sums of nothing", { m: 5, n: 6, k: 0 }),
];
