import { sortIds } from "../../../kernels/indexing/embedding.ts";
import { type Case, randomIds } from "../case.ts";

const sorting = (name: string, ids: Int32Array): Case => ({
  kernel: sortIds,
  name,
  bindings: { ids, sorted: new Uint32Array(2 * ids.length).fill(77) },
  params: { count: ids.length },
});

export const cases: Case[] = [
  {
    ...sorting("worked out by hand", Int32Array.of(5, 3, 5, 5, 0)),
    exact: () => ({ sorted: [0, 3, 5, 5, 5, 4, 1, 0, 2, 3] }),
  },
  sorting("many equal", randomIds(501, 7)),
  sorting("few equal, several blocks", randomIds(3000, 5000)),
  sorting("none", new Int32Array(0)),
];
