import { crossEntropy } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, LONG, output, random, randomIds } from "../case.ts";

/** Logits and targets, one of them ignored. */
export function classified(rows: number, classes: number): {
  logits: Float32Array<ArrayBuffer>;
  targets: Int32Array<ArrayBuffer>;
} {
  const targets = randomIds(rows, classes, 2);
  if (rows > 2) targets[1] = -100;
  return { logits: random(rows * classes, 4, 1), targets };
}

function losses(rows: number, classes: number, smoothing: number, more: Partial<Case> = {}): Case {
  const { logits, targets } = classified(rows, classes);
  return {
    kernel: crossEntropy,
    name: `${rows} x ${classes}, smoothing ${smoothing}`,
    bindings: { logits, targets, loss: output(rows), sums: output(2 * rows) },
    params: { rows, classes, ignoreIndex: -100, smoothing, known: classes },
    exact: () => ({
      loss: Array.from(targets, (target, row) => {
        if (target === -100) return 0;
        const x = Array.from(logits.subarray(row * classes, (row + 1) * classes));
        const lse = Math.log(x.reduce((sum, v) => sum + Math.exp(v), 0));
        const mean = x.reduce((a, b) => a + b, 0) / classes;
        return (1 - smoothing) * (lse - x[target]) + smoothing * (lse - mean);
      }),
    }),
    ...more,
  };
}

export const cases: Case[] = [
  losses(5, 12, 0),
  losses(9, 13, 0.1),
  losses(3, 1, 0),
  losses(2, 1500, 0),
  ...LONG.map((columns) =>
    losses(2, columns, 0.1, { long: true, exact: undefined, tolerance: 1e-4 })
  ),
  losses(0, 8, 0),
  losses(300, 12, 0.1, { name: "over the binding limit", limit: 4096 }),
  losses(2, 12, 0, {
    name: "f16, ids of u32, no sums",
    bindings: {
      logits: Float16Array.from(random(24)),
      targets: Uint32Array.of(3, 11),
      loss: output(2),
    },
    exact: undefined,
  }),
];
