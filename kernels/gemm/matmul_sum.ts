/**
 * Adds up the parts of a matrix product that was split along k.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./matmul_sum.wgsl" with { type: "text" };

/** Parameters of {@linkcode matmulSum}. */
export type MatmulSumParams = {
  /** The number of partial products. */
  parts: number;
  /** The rows of c. */
  m: number;
  /** The columns of c. */
  n: number;
  /** The factor of the previous content of c, which is not read if this is 0. */
  beta: number;
};

/**
 * c (m, n) = the sum of partials (parts, m, n) over the parts [+ beta c] [+ bias (n)] [+ residual (m, n)]; likewise
 * rowSums (m) = the sum of partialRowSums (parts, m) [+ beta rowSums], if they are given.
 */
export const matmulSum: Kernel<MatmulSumParams> = kernel<MatmulSumParams>({
  name: "matmul_sum",
  bindings: {
    partials: { read: "parts m n", dtype: "f32" },
    c: { update: "m n" },
    bias: { read: "n", optional: true },
    residual: { read: "m n", optional: true },
    partialRowSums: { read: "parts m", dtype: "f32", optional: true },
    rowSums: { update: "m", optional: true },
  },
  params: { parts: "u32", m: "u32", n: "u32", beta: "f32" },
  gpu({ parts, m, n }, { dtypes }) {
    const vec4 = n % 4 === 0 && "n";
    const rowSums = dtypes.rowSums ? m : 0;
    return {
      wgsl,
      vec4,
      workgroups: Math.ceil((m * n / (vec4 ? 4 : 1) + rowSums) / 64),
      iterations: parts,
    };
  },
  cpu({ partials, c, bias, residual, partialRowSums, rowSums }, { parts, m, n, beta }) {
    for (let i = 0; i < m * n; i++) {
      let sum = (bias ? bias[i % n] : 0) + (residual ? residual[i] : 0);
      for (let p = 0; p < parts; p++) sum += partials[p * m * n + i];
      c[i] = sum + (beta === 0 ? 0 : beta * c[i]);
    }
    if (!rowSums) return;
    for (let i = 0; i < m; i++) {
      let sum = 0;
      for (let p = 0; p < parts; p++) sum += partialRowSums[p * m + i];
      rowSums[i] = sum + (beta === 0 ? 0 : beta * rowSums[i]);
    }
  },
});
