/**
 * Gathers elements of each row by their indices.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { checkIdsInRange } from "./embedding.ts";
import backwardWgsl from "./gather_backward.wgsl" with { type: "text" };
import gatherWgsl from "./gather.wgsl" with { type: "text" };

/** Parameters of {@linkcode gatherKernel}. */
export type GatherParams = {
  /** The number of elements of the result. */
  count: number;
  /** The length of a row of x. */
  columns: number;
  /** How many elements are taken from each row. */
  taken: number;
};

/**
 * y (rows, taken) from x (rows, columns) and ids (rows, taken) of `i32` or `u32`. An id outside a row throws a
 * `RangeError` on the CPU and gives 0 on a GPU.
 */
export const gatherKernel: Kernel<GatherParams> = kernel<GatherParams>({
  name: "gather",
  bindings: {
    x: { read: "*" },
    ids: { read: "count", dtype: "i32" },
    y: { write: "count" },
  },
  params: { count: "u32", columns: "u32", taken: "u32" },
  gpu: ({ count }) => ({
    wgsl: gatherWgsl,
    workgroups: Math.ceil(count / 64),
  }),
  cpu({ x, ids, y }, { count, columns, taken }) {
    checkIdsInRange(ids.subarray(0, count), columns, "takeAlongAxis");
    for (let i = 0; i < count; i++) y[i] = x[Math.floor(i / taken) * columns + ids[i]];
  },
});

/** Parameters of {@linkcode gatherBackward}. */
export type GatherBackwardParams = {
  /** The number of rows. */
  rows: number;
  /** The length of a row of dX. */
  columns: number;
  /** The length of a row of dOut and ids. */
  taken: number;
  /** The first element of a row that is added. */
  first: number;
  /** One past the last; a GPU adds at most `MAX_ITERATIONS` elements of a row in one launch. */
  end: number;
};

/**
 * dX (rows, columns) += dOut (rows, taken) at ids (rows, taken), for the elements from `first` to `end` of each row.
 * The gradients of repeated ids are summed.
 */
export const gatherBackward: Kernel<GatherBackwardParams> = kernel<GatherBackwardParams>({
  name: "gather_backward",
  bindings: {
    dOut: { read: "rows taken" },
    ids: { read: "rows taken", dtype: "i32" },
    dX: { update: "rows columns" },
  },
  params: { rows: "u32", columns: "u32", taken: "u32", first: "u32", end: "u32" },
  gpu: ({ rows, first, end }) => ({
    wgsl: backwardWgsl,
    workgroups: Math.ceil(rows / 64),
    iterations: end - first,
  }),
  cpu({ dOut, ids, dX }, { rows, columns, taken, first, end }) {
    for (let r = 0; r < rows; r++) {
      for (let i = r * taken + first; i < r * taken + end; i++) {
        dX[r * columns + ids[i]] += dOut[i];
      }
    }
  },
  split: "rows",
});
