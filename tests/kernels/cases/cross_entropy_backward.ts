import { crossEntropyBackward } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, LONG, output, random } from "../case.ts";
import { classified } from "./cross_entropy.ts";

function gradient(
  rows: number,
  classes: number,
  smoothing: number,
  more: Partial<Case> = {},
): Case {
  const { logits, targets } = classified(rows, classes);
  const sums = Float32Array.from(
    Array.from(targets, (_, row) => {
      const x = logits.subarray(row * classes, (row + 1) * classes);
      const top = x.reduce((a, b) => Math.max(a, b));
      return [top, x.reduce((sum, v) => sum + Math.exp(v - top), 0)];
    }).flat(),
  );
  return {
    kernel: crossEntropyBackward,
    name: `${rows} x ${classes}, smoothing ${smoothing}`,
    bindings: {
      logits,
      targets,
      sums,
      scale: Float32Array.of(0.5),
      dOut: Float32Array.of(3),
      dLogits: output(rows * classes),
    },
    params: { rows, classes, ignoreIndex: -100, smoothing, known: classes },
    exact: () => ({
      dLogits: Array.from(logits, (x, i) => {
        const row = Math.floor(i / classes), target = targets[row];
        if (target === -100) return 0;
        const wanted = smoothing / classes + (i % classes === target ? 1 - smoothing : 0);
        return 1.5 * (Math.exp(x - sums[2 * row]) / sums[2 * row + 1] - wanted);
      }),
    }),
    ...more,
  };
}

export const cases: Case[] = [
  gradient(5, 12, 0),
  gradient(9, 13, 0.1),
  gradient(3, 1, 0),
  gradient(2, 1500, 0),
  ...LONG.map((columns) =>
    gradient(2, columns, 0.1, { long: true, exact: undefined, tolerance: 1e-4 })
  ),
  gradient(0, 8, 0),
  gradient(300, 12, 0.1, { name: "over the binding limit", limit: 4096 }),
  gradient(2, 12, 0, {
    name: "f16, ids of u32",
    bindings: {
      logits: Float16Array.from(random(24)),
      targets: Uint32Array.of(3, 11),
      sums: Float32Array.of(1, 8, 0, 9),
      scale: Float32Array.of(0.5),
      dOut: Float32Array.of(3),
      dLogits: new Float16Array(24),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
