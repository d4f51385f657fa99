import { layerNormSlabs } from "../../../kernels/rows/norm.ts";
import { type Case, output, random } from "../case.ts";

function slabs(count: number, columns: number, half = false): Case {
  const x = random(count * columns);
  return {
    kernel: layerNormSlabs,
    name: `${count} x ${columns}${half ? " to f16" : ""}`,
    bindings: { x, y: half ? new Float16Array(columns) : output(columns) },
    params: { slabs: count, columns },
    tolerance: half ? 2e-3 : 1e-5,
    exact: () => {
      const y = new Float64Array(columns);
      x.forEach((value, i) => y[i % columns] += value);
      return { y };
    },
  };
}

export const cases: Case[] = [
  slabs(5, 12),
  slabs(7, 301),
  slabs(1, 3),
  slabs(3, 8, true),
  { ...slabs(32_768, 3), long: true, tolerance: 1e-4 },
];
