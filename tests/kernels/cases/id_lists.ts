import { idCount, idPlace, idSort, idStarts } from "../../../kernels/id_lists.ts";
import { type Case, randomIds } from "../case.ts";

/** What each step makes of ids, worked out plainly; ids outside the vocabulary are passed over. */
function steps(ids: Int32Array, vocabulary: number): Case[] {
  const count = ids.length;
  const params = { count, vocabulary };
  const order: number[] = [];
  const counts = new Uint32Array(vocabulary);
  const starts = new Uint32Array(vocabulary + 1);
  for (let v = 0; v < vocabulary; v++) {
    starts[v] = order.length;
    ids.forEach((id, position) => id === v && order.push(position));
    counts[v] = order.length - starts[v];
  }
  starts[vocabulary] = order.length;
  const passed = new Array(count - order.length).fill(0xffffffff);
  // Each id's positions in descending order, as one of the orders they may be placed in.
  const list = Uint32Array.from([...order, ...passed]);
  for (let v = 0; v < vocabulary; v++) list.subarray(starts[v], starts[v + 1]).reverse();
  const room = () => new Uint32Array(count).fill(0xffffffff);
  const sorted = Uint32Array.from([...order, ...passed]);
  const name = `${count} ids of ${vocabulary}`;
  return [
    {
      kernel: idCount,
      name,
      bindings: { ids, counts: new Uint32Array(vocabulary) },
      params,
      exact: () => ({ counts }),
    },
    {
      kernel: idStarts,
      name,
      bindings: { counts, starts: new Uint32Array(vocabulary + 1).fill(9) },
      params: { vocabulary },
      exact: () => ({ starts }),
    },
    {
      kernel: idPlace,
      name,
      bindings: { ids, starts, counts, list: room() },
      params,
      normalise({ list, counts }) {
        const parts = list.slice();
        for (let v = 0; v < vocabulary; v++) parts.subarray(starts[v], starts[v + 1]).sort();
        return { list: parts, counts };
      },
      exact: () => ({ list: sorted, counts: new Uint32Array(vocabulary) }),
    },
    {
      kernel: idSort,
      name,
      bindings: { ids, starts, list, order: room() },
      params,
      exact: () => ({ order: sorted }),
    },
  ];
}

export const cases: Case[] = [
  ...steps(randomIds(500, 37), 37),
  ...steps(randomIds(100, 1000), 1000),
  ...steps(new Int32Array(200).fill(2), 5),
  ...steps(Int32Array.of(1, 99, -1, 0, 1), 3),
];
