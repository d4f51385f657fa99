import { crossEntropyFused } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, LONG, output, random } from "../case.ts";
import { classified } from "./cross_entropy.ts";

function fused(rows: number, classes: number, smoothing: number, more: Partial<Case> = {}): Case {
  const { logits, targets } = classified(rows, classes);
  return {
    kernel: crossEntropyFused,
    name: `${rows} x ${classes}, smoothing ${smoothing}`,
    bindings: { logits, targets, scale: Float32Array.of(0.25), loss: output(rows) },
    params: { rows, classes, ignoreIndex: -100, smoothing, known: classes },
    exact: () => {
      const loss = new Float64Array(rows), gradient = new Float64Array(rows * classes);
      targets.forEach((target, row) => {
        if (target === -100) return;
        const x = Array.from(logits.subarray(row * classes, (row + 1) * classes));
        const lse = Math.log(x.reduce((sum, v) => sum + Math.exp(v), 0));
        x.forEach((v, i) => {
          const wanted = smoothing / classes + (i === target ? 1 - smoothing : 0);
          loss[row] -= wanted * (v - lse);
          gradient[row * classes + i] = 0.25 * (Math.exp(v - lse) - wanted);
        });
      });
      return { loss, logits: gradient };
    },
    ...more,
  };
}

export const cases: Case[] = [
  fused(5, 12, 0),
  fused(9, 13, 0.1),
  fused(3, 1, 0),
  fused(2, 1500, 0),
  ...LONG.map((columns) =>
    fused(2, columns, 0.1, { long: true, exact: undefined, tolerance: 1e-4 })
  ),
  fused(0, 8, 0),
  fused(300, 12, 0.1, { name: "over the binding limit", limit: 4096 }),
  fused(2, 12, 0, {
    name: "f16, ids of u32",
    bindings: {
      logits: Float16Array.from(random(24)),
      targets: Uint32Array.of(3, 11),
      scale: Float32Array.of(0.5),
      loss: output(2),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
