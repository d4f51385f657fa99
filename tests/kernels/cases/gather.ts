import { gatherBackward, gatherKernel } from "../../../kernels/indexing/gather.ts";
import { type Case, output, random, randomIds } from "../case.ts";

function picked(rows: number, columns: number, taken: number): Case {
  const x = random(rows * columns);
  const ids = randomIds(rows * taken, columns);
  return {
    kernel: gatherKernel,
    name: `[${rows}, ${taken}] of [${rows}, ${columns}]`,
    bindings: { x, ids, y: output(rows * taken) },
    params: { count: rows * taken, columns, taken },
    exact: () => ({ y: Array.from(ids, (id, i) => x[Math.floor(i / taken) * columns + id]) }),
    tolerance: 0,
  };
}

function put(rows: number, columns: number, taken: number, more: Partial<Case> = {}): Case {
  return {
    kernel: gatherBackward,
    name: `[${rows}, ${taken}] into [${rows}, ${columns}]`,
    bindings: {
      dOut: random(rows * taken),
      ids: randomIds(rows * taken, columns),
      dX: random(rows * columns, 1, 2),
    },
    params: { rows, columns, taken, first: 0, end: taken },
    tolerance: 2e-6,
    ...more,
  };
}

const f16 = picked(5, 7, 3);

export const cases: Case[] = [
  picked(5, 7, 3),
  picked(1, 1, 1),
  picked(3, 10, 0),
  picked(70, 3, 40),
  {
    ...f16,
    name: "f16",
    bindings: {
      ...f16.bindings,
      x: Float16Array.from(f16.bindings.x!),
      y: new Float16Array(15),
    },
    exact: undefined,
  },
  put(5, 7, 3),
  put(70, 3, 40),
  put(3, 5, 20, {
    name: "some of a row",
    params: { rows: 3, columns: 5, taken: 20, first: 4, end: 17 },
  }),
  put(2, 300_001, 32_768, { long: true }),
  put(200, 8, 4, { name: "over the binding limit", limit: 2048 }),
];
