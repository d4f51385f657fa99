import { rmsNorm } from "../../../kernels/rows/norm.ts";
import { type Case, LONG, output, random } from "../case.ts";

function norm(rows: number, columns: number, parts: string, more: Partial<Case> = {}): Case {
  const x = random(rows * columns, 3, 1);
  const weight = parts.includes("w") ? random(columns, 1, 2) : undefined;
  return {
    kernel: rmsNorm,
    name: `${rows} x ${columns} ${parts}`,
    bindings: {
      x,
      weight,
      y: output(rows * columns),
      rstd: parts.includes("k") ? output(rows) : undefined,
    },
    params: { rows, columns, eps: 1e-5, offset: parts.includes("1") ? 1 : 0 },
    exact: () => ({
      y: x.map((value, i) => {
        const row = x.subarray(i - i % columns, i - i % columns + columns);
        const square = row.reduce((sum, v) => sum + v * v, 0) / columns;
        return value / Math.sqrt(square + 1e-5) *
          (weight ? weight[i % columns] + Number(parts.includes("1")) : 1);
      }),
    }),
    ...more,
  };
}

export const cases: Case[] = [
  norm(3, 12, "wk"),
  norm(5, 13, "wk"),
  norm(4, 12, "w1"),
  norm(4, 7, "wk1"),
  norm(2, 1500, ""),
  norm(3, 7, "k"),
  ...LONG.map((columns) =>
    norm(2, columns, "wk", { long: true, exact: undefined, tolerance: 1e-4 })
  ),
  norm(0, 8, "wk"),
  norm(300, 12, "wk", { name: "over the binding limit", limit: 4096 }),
  norm(3, 12, "", {
    name: "f16",
    bindings: {
      x: Float16Array.from(random(36)),
      weight: Float16Array.from(random(12)),
      y: new Float16Array(36),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
