import { columnSums } from "../../../kernels/rows/norm.ts";
import { type Case, output, random } from "../case.ts";

function sums(rows: number, columns: number, parts: string, more: Partial<Case> = {}): Case {
  const size = rows * columns;
  const dOut = random(size, 1, 1);
  const weight = parts.includes("w"), add = Number(parts.includes("+"));
  const x = weight ? random(size, 2, 2) : undefined;
  const rstd = weight ? random(rows, 1, 3) : undefined;
  const mean = parts.includes("m") ? random(rows, 1, 5) : undefined;
  const room = (seed: number) => add ? random(columns, 1, seed) : output(columns);
  const dWeight = weight ? room(6) : undefined, dBias = parts.includes("b") ? room(7) : undefined;
  return {
    kernel: columnSums,
    name: `${rows} x ${columns} ${parts}`,
    bindings: { dOut, x, mean, rstd, dWeight, dBias },
    params: { rows, columns, addWeight: add, addBias: add },
    exact: () => {
      const start = (values?: Float32Array) =>
        values && Float64Array.from(add ? values : values.map(() => 0));
      const weights = start(dWeight), biases = start(dBias);
      for (let i = 0; i < size; i++) {
        const row = Math.floor(i / columns);
        if (weights) weights[i % columns] += dOut[i] * (x![i] - (mean?.[row] ?? 0)) * rstd![row];
        if (biases) biases[i % columns] += dOut[i];
      }
      return { ...weights && { dWeight: weights }, ...biases && { dBias: biases } };
    },
    ...more,
  };
}

export const cases: Case[] = [
  sums(20, 12, "mwb"),
  sums(301, 13, "mwb"),
  sums(300, 12, "mwb +"),
  sums(20, 12, "mw"),
  sums(1, 5, "w"),
  sums(9, 260, "b"),
  sums(1100, 20, "b +", { tolerance: 5e-5 }),
  sums(0, 8, "mwb"),
  sums(0, 8, "b +"),
  sums(65_537, 3, "mwb", { long: true, tolerance: 1e-4 }),
  sums(40, 8, "b", {
    name: "to f16",
    bindings: { dOut: random(320, 1, 1), dBias: new Float16Array(8) },
    exact: undefined,
    tolerance: 2e-3,
  }),
];
