/**
 * Chains equal ids together, so that a sum over them needs no atomics and has one order.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./equal_ids.wgsl" with { type: "text" };

/** Numbers of {@linkcode equalIds}. */
export type EqualIdsParams = {
  /** How many ids; the work on a GPU grows with its square, so they come in runs of some thousands. */
  count: number;
};

/**
 * links (2, count) of ids (count): the index of the next equal id, or `count` where there is none, and then 1
 * for the first of its kind, else 0.
 */
export const equalIds: Kernel<EqualIdsParams> = kernel<EqualIdsParams>({
  name: "equal_ids",
  bindings: {
    ids: { read: "count", dtype: "i32" },
    links: { write: "2 count", dtype: "u32" },
  },
  params: { count: "u32" },
  // A lane loops `count` times in all; the 64 of a workgroup that run in step, as often as the slowest of them.
  gpu: ({ count }) => ({ wgsl, workgroups: Math.ceil(count / 64), iterations: count + 64 }),
  cpu({ ids, links }, { count }) {
    const next = new Map<number, number>();
    for (let i = count - 1; i >= 0; i--) {
      links[i] = next.get(ids[i]) ?? count;
      next.set(ids[i], i);
    }
    for (let i = 0; i < count; i++) links[count + i] = next.get(ids[i]) === i ? 1 : 0;
  },
});
