/**
 * Sorts ids in blocks, so that sums over equal ones need no atomics and have one order.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./sort_ids.wgsl" with { type: "text" };

/** Ids that are sorted together: an invocation finds the place of its own by counting the smaller ones. */
export const SORT_BLOCK = 1024;

/** Numbers of {@linkcode sortIds}. */
export type SortIdsParams = {
  /** How many ids. */
  count: number;
};

/**
 * sorted (2, count) of ids (count), each block of 1,024 by itself: the ids in rising order, and then their indices, which
 * rise among equal ids.
 */
export const sortIds: Kernel<SortIdsParams> = kernel<SortIdsParams>({
  name: "sort_ids",
  bindings: {
    ids: { read: "count", dtype: "i32" },
    sorted: { write: "2 count", dtype: "u32" },
  },
  params: { count: "u32" },
  gpu: ({ count }) => ({
    wgsl,
    constants: { BLOCK: SORT_BLOCK },
    workgroups: Math.ceil(count / 64),
    iterations: SORT_BLOCK,
  }),
  cpu({ ids, sorted }, { count }) {
    for (let first = 0; first < count; first += SORT_BLOCK) {
      const indices = Array.from(
        { length: Math.min(SORT_BLOCK, count - first) },
        (_, i) => first + i,
      );
      // As u32, in which ids below 0 come last.
      indices.sort((a, b) => (ids[a] >>> 0) - (ids[b] >>> 0));
      indices.forEach((index, i) => {
        sorted[first + i] = ids[index] >>> 0;
        sorted[count + first + i] = index;
      });
    }
  },
});
