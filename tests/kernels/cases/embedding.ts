import { embeddingKernel } from "../../../kernels/indexing/embedding.ts";
import { type Case, output, random, randomIds } from "../case.ts";

function looked(rows: number, columns: number, vocabulary: number, more: Partial<Case> = {}): Case {
  const ids = randomIds(rows, vocabulary);
  const table = random(vocabulary * columns);
  return {
    kernel: embeddingKernel,
    name: `${rows} rows of ${columns} from ${vocabulary}`,
    bindings: { ids, table, y: output(rows * columns) },
    params: { rows, columns, firstRow: 0, tableRows: vocabulary, vocabulary },
    exact: () => ({
      y: Array.from({ length: rows * columns }, (_, i) => {
        return table[ids[Math.floor(i / columns)] * columns + i % columns];
      }),
    }),
    tolerance: 0,
    ...more,
  };
}

export const cases: Case[] = [
  looked(1, 1, 1),
  looked(33, 7, 5),
  looked(100, 16, 1000),
  looked(0, 8, 10),
  looked(50, 16, 300, { name: "a table over the binding limit", limit: 4096 }),
];
