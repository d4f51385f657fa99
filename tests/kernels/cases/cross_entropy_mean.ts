import { crossEntropyMean } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, output, random } from "../case.ts";

function mean(rows: number): Case {
  const loss = random(rows, 3).map(Math.abs);
  return {
    kernel: crossEntropyMean,
    name: `${rows} rows`,
    bindings: { loss, scale: Float32Array.of(1 / 128), mean: output(1) },
    params: { rows },
    exact: () => ({ mean: [Array.from(loss).reduce((sum, value) => sum + value / 128, 0)] }),
    tolerance: 2e-6,
  };
}

export const cases: Case[] = [
  ...[0, 1, 130, 20_001].map(mean),
  { ...mean(300_001), long: true, tolerance: 1e-5 },
];
