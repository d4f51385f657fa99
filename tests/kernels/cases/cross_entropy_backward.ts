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
  const lse = Float32Array.from(targets, (_, row) =>
    Math.log(
      logits.subarray(row * classes, (row + 1) * classes).reduce((sum, v) => sum + Math.exp(v), 0),
    ));
  return {
    kernel: crossEntropyBackward,
    name: `${rows} x ${classes}, smoothing ${smoothing}`,
    bindings: {
      logits,
      targets,
      lse,
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
        return 1.5 * (Math.exp(x - lse[row]) - wanted);
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
      lse: Float32Array.of(3, 2),
      scale: Float32Array.of(0.5),
      dOut: Float32Array.of(3),
      dLogits: new Float16Array(24),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
