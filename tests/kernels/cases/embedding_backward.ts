import { embeddingBackward, sortIds } from "../../../kernels/indexing/embedding.ts";
import { type Case, random, randomIds } from "../case.ts";

function added(rows: number, columns: number, tableRows: number, more: Partial<Case> = {}): Case {
  const ids = randomIds(rows, tableRows);
  const sorted = new Uint32Array(2 * rows);
  sortIds.cpu({ ids, sorted }, { count: rows });
  const x = random(rows * columns);
  const table = random(tableRows * columns, 1, 2);
  return {
    kernel: embeddingBackward,
    name: `${rows} rows of ${columns} into ${tableRows}`,
    bindings: { x, ids, sorted, table },
    params: { rows, columns, firstRow: 0, tableRows },
    exact() {
      const sums = Float64Array.from(table);
      ids.forEach((id, r) => {
        for (let c = 0; c < columns; c++) sums[id * columns + c] += x[r * columns + c];
      });
      return { table: sums };
    },
    ...more,
  };
}

export const cases: Case[] = [
  added(1, 1, 1),
  added(33, 7, 5),
  added(100, 16, 1000),
  added(900, 12, 2, { tolerance: 5e-5 }),
  added(0, 8, 10),
  added(3000, 8, 700),
  added(32_000, 1, 1, { long: true, tolerance: 1e-4 }),
  added(200, 16, 300, { name: "a table over the binding limit", limit: 13000 }),
];
