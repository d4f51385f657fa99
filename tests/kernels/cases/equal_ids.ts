import { equalIds } from "../../../kernels/indexing/embedding.ts";
import { type Case, randomIds } from "../case.ts";

const chained = (name: string, ids: Int32Array): Case => ({
  kernel: equalIds,
  name,
  bindings: { ids, links: new Uint32Array(2 * ids.length).fill(77) },
  params: { count: ids.length },
});

export const cases: Case[] = [
  {
    ...chained("worked out by hand", Int32Array.of(5, 3, 5, 5, 0)),
    exact: () => ({ links: [2, 5, 3, 5, 5, 1, 1, 0, 0, 1] }),
  },
  chained("many equal", randomIds(501, 7)),
  chained("few equal", randomIds(1000, 5000)),
  chained("none", new Int32Array(0)),
];
