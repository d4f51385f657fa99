import { matmulSum } from "../../../kernels/gemm/matmul_sum.ts";
import { type Case, output, random } from "../case.ts";

function added(parts: number, m: number, n: number, beta: number, biased = true): Case {
  const partials = random(parts * m * n, 1, 1);
  const c = beta ? random(m * n, 1, 2) : output(m * n);
  const bias = biased ? random(n, 1, 3) : undefined;
  const residual = biased ? random(m * n, 1, 4) : undefined;
  const partialRowSums = biased ? undefined : random(parts * m, 1, 5);
  const rowSums = biased ? undefined : beta ? random(m, 1, 6) : output(m);
  return {
    kernel: matmulSum,
    name: `${parts} of ${m} x ${n}`,
    bindings: { partials, c, bias, residual, partialRowSums, rowSums },
    params: { parts, m, n, beta },
    exact: () => ({
      c: Array.from(c, (before, i) => {
        let sum = (bias?.[i % n] ?? 0) + (residual?.[i] ?? 0) + (beta ? beta * before : 0);
        for (let p = 0; p < parts; p++) sum += partials[p * m * n + i];
        return sum;
      }),
      ...rowSums && {
        rowSums: Array.from(rowSums, (before, row) => {
          let sum = beta ? beta * before : 0;
          for (let p = 0; p < parts; p++) sum += partialRowSums![p * m + row];
          return sum;
        }),
      },
    }),
  };
}

export const cases: Case[] = [
  added(3, 5, 7, 0),
  added(4, 6, 8, 1),
  added(2, 70, 36, 0.5, false),
  added(17, 3, 5, 0, false),
];
