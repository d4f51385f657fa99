import { layerNorm } from "../../../kernels/rows/norm.ts";
import { type Case, LONG, output, random } from "../case.ts";

function norm(rows: number, columns: number, parts: string, more: Partial<Case> = {}): Case {
  const x = random(rows * columns, 3, 1), weight = random(columns, 1, 2);
  const bias = random(columns, 1, 3);
  const given = {
    weight: parts.includes("w") ? weight : undefined,
    bias: parts.includes("b") ? bias : undefined,
  };
  return {
    kernel: layerNorm,
    name: `${rows} x ${columns} ${parts}`,
    bindings: {
      x,
      ...given,
      y: output(rows * columns),
      ...(parts.includes("k") ? { mean: output(rows), rstd: output(rows) } : {}),
    },
    params: { rows, columns, eps: 1e-5 },
    exact: () => ({
      y: x.map((value, i) => {
        const row = x.subarray(i - i % columns, i - i % columns + columns);
        const mean = row.reduce((a, b) => a + b, 0) / columns;
        const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / columns;
        const h = (value - mean) / Math.sqrt(variance + 1e-5);
        return h * (given.weight?.[i % columns] ?? 1) + (given.bias?.[i % columns] ?? 0);
      }),
    }),
    ...more,
  };
}

export const cases: Case[] = [
  norm(3, 12, "wbk"),
  norm(5, 13, "wbk"),
  norm(4, 1, "wb"),
  norm(2, 1500, "k"),
  norm(3, 7, "b"),
  ...LONG.map((columns) =>
    norm(2, columns, "wbk", { long: true, exact: undefined, tolerance: 1e-4 })
  ),
  norm(0, 8, "wbk"),
  norm(300, 12, "wbk", { name: "over the binding limit", limit: 4096 }),
  norm(3, 12, "", {
    name: "f16 with weights of f32",
    bindings: {
      x: Float16Array.from(random(36)),
      weight: random(12),
      y: new Float16Array(36),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
