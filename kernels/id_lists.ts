/**
 * Where every id of a vocabulary stands: a counting sort on the device, so that gradients of rows that are
 * used many times can be added up without atomics on floats, and in the same order every time.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import countWgsl from "./id_count.wgsl" with { type: "text" };
import placeWgsl from "./id_place.wgsl" with { type: "text" };
import sortWgsl from "./id_sort.wgsl" with { type: "text" };
import startsWgsl from "./id_starts.wgsl" with { type: "text" };

/** Numbers of the kernels over ids. */
export type IdParams = {
  /** How many ids. */
  count: number;
  /** Ids from 0 to below it are counted, others are passed over. */
  vocabulary: number;
};

const PARAMS = { count: "u32", vocabulary: "u32" } as const;
const perId = (wgsl: string) => ({ count }: IdParams) => ({
  wgsl,
  workgroups: Math.ceil(count / 64),
});

/** counts (vocabulary) += how often each id comes. */
export const idCount: Kernel<IdParams> = kernel<IdParams>({
  name: "id_count",
  bindings: { ids: "read", counts: "update" },
  params: PARAMS,
  gpu: perId(countWgsl),
  cpu({ ids, counts }, { count, vocabulary }) {
    for (let i = 0; i < count; i++) if (ids[i] >= 0 && ids[i] < vocabulary) counts[ids[i]]++;
  },
});

/** starts (vocabulary + 1) = how many positions the ids before have; last, how many there are. */
export const idStarts: Kernel<{ vocabulary: number }> = kernel<{ vocabulary: number }>({
  name: "id_starts",
  bindings: { counts: "read", starts: "write" },
  params: { vocabulary: "u32" },
  gpu: () => ({ wgsl: startsWgsl, workgroups: 1 }),
  cpu({ counts, starts }, { vocabulary }) {
    let total = 0;
    for (let v = 0; v < vocabulary; v++) {
      starts[v] = total;
      total += counts[v];
    }
    starts[vocabulary] = total;
  },
});

/** list (count): the positions of each id from its start on, in any order; counts falls to 0. */
export const idPlace: Kernel<IdParams> = kernel<IdParams>({
  name: "id_place",
  bindings: { ids: "read", starts: "read", counts: "update", list: "write" },
  params: PARAMS,
  gpu: perId(placeWgsl),
  cpu({ ids, starts, counts, list }, { count, vocabulary }) {
    for (let i = 0; i < count; i++) {
      const v = ids[i];
      if (v >= 0 && v < vocabulary) list[starts[v] + --counts[v]] = i;
    }
  },
});

/** order (count) = list with the positions of each id in ascending order. */
export const idSort: Kernel<IdParams> = kernel<IdParams>({
  name: "id_sort",
  bindings: { ids: "read", starts: "read", list: "read", order: "write" },
  params: PARAMS,
  gpu: perId(sortWgsl),
  cpu({ starts, list, order }, { vocabulary }) {
    for (let v = 0; v < vocabulary; v++) {
      order.set(list.slice(starts[v], starts[v + 1]).sort(), starts[v]);
    }
  },
});
