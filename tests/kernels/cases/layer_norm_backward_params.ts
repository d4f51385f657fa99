import { layerNormBackwardParams } from "../../../kernels/rows/norm.ts";
import { type Case, output, random } from "../case.ts";

function sums(rows: number, columns: number, slabRows: number, parts: string): Case {
  const size = rows * columns, firstSlab = parts.includes("late") ? 2 : 0;
  const slabs = Math.max(1, Math.ceil(rows / slabRows));
  const dOut = random(size, 1, 1), x = random(size, 2, 2), rstd = random(rows, 1, 3);
  const mean = parts.includes("m") ? random(rows, 1, 5) : undefined;
  const room = () => output((firstSlab + slabs) * columns);
  const bindings = {
    dOut,
    x,
    mean,
    rstd,
    dWeight: parts.includes("w") ? room() : undefined,
    dBias: parts.includes("b") ? room() : undefined,
  };
  return {
    kernel: layerNormBackwardParams,
    name: `${rows} x ${columns} by ${slabRows} ${parts}`,
    bindings,
    params: { rows, columns, slabRows, firstSlab },
    exact: () => {
      const dWeight = Float64Array.from(room()), dBias = Float64Array.from(room());
      dWeight.fill(0, firstSlab * columns);
      dBias.fill(0, firstSlab * columns);
      for (let i = 0; i < size; i++) {
        const row = Math.floor(i / columns);
        const at = (firstSlab + Math.floor(row / slabRows)) * columns + i % columns;
        dWeight[at] += dOut[i] * (x[i] - (mean?.[row] ?? 0)) * rstd[row];
        dBias[at] += dOut[i];
      }
      return {
        ...(bindings.dWeight ? { dWeight } : {}),
        ...(bindings.dBias ? { dBias } : {}),
      };
    },
  };
}

export const cases: Case[] = [
  sums(20, 12, 20, "mwb"),
  sums(20, 13, 8, "mwb"),
  sums(20, 12, 8, "mw late"),
  sums(1, 5, 64, "w"),
  sums(9, 260, 4, "b"),
  sums(0, 8, 64, "mwb"),
  { ...sums(65_537, 3, 32_768, "mwb"), long: true, tolerance: 1e-4 },
];
