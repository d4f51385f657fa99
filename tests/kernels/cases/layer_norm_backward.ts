import { layerNormBackward } from "../../../kernels/rows/norm.ts";
import { type Case, LONG, output, random } from "../case.ts";

function gradient(rows: number, columns: number, parts: string, more: Partial<Case> = {}): Case {
  const size = rows * columns;
  const dOut = random(size, 1, 1), x = random(size, 2, 2), rstd = random(rows, 1, 3);
  const weight = parts.includes("w") ? random(columns, 1, 4) : undefined;
  const mean = parts.includes("m") ? random(rows, 1, 5) : undefined;
  const accumulate = Number(parts.includes("+"));
  const before = accumulate ? random(size, 1, 6) : output(size);
  return {
    kernel: layerNormBackward,
    name: `${rows} x ${columns} ${parts}`,
    bindings: { dOut, x, weight, mean, rstd, dX: before },
    params: { rows, columns, accumulate },
    exact: () => {
      const dX = new Float64Array(size);
      for (let row = 0; row < rows; row++) {
        const at = Array.from({ length: columns }, (_, i) => row * columns + i);
        const g = at.map((place, i) => dOut[place] * (weight?.[i] ?? 1));
        const h = at.map((place) => (x[place] - (mean?.[row] ?? 0)) * rstd[row]);
        const a = mean ? g.reduce((sum, v) => sum + v, 0) / columns : 0;
        const b = g.reduce((sum, v, i) => sum + v * h[i], 0) / columns;
        at.forEach((place, i) =>
          dX[place] = rstd[row] * (g[i] - a - h[i] * b) + (accumulate && before[place])
        );
      }
      return { dX };
    },
    ...more,
  };
}

export const cases: Case[] = [
  gradient(3, 12, "wm"),
  gradient(5, 13, "wm"),
  gradient(3, 12, "wm+"),
  gradient(2, 13, "+"),
  gradient(4, 1, "m"),
  gradient(2, 1500, "w"),
  gradient(3, 7, ""),
  ...LONG.map((columns) =>
    gradient(2, columns, "wm", { long: true, exact: undefined, tolerance: 1e-4 })
  ),
  gradient(0, 8, "wm"),
  gradient(300, 12, "wm", { name: "over the binding limit", limit: 4096 }),
  gradient(3, 12, "", {
    name: "f16",
    bindings: {
      dOut: Float16Array.from(random(36)),
      x: Float16Array.from(random(36, 2, 2)),
      rstd: random(3),
      dX: new Float16Array(36),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
