/**
 * The largest elements of each row.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import wgsl from "./top_k.wgsl" with { type: "text" };

/** Numbers of {@linkcode topKKernel}. */
export type TopKParams = {
  /** Rows. */
  rows: number;
  /** Length of a row. */
  columns: number;
  /** How many are wanted of each, from 1 to `columns`. */
  k: number;
};

/**
 * values and indices (rows, k) of the largest elements of x (rows, columns), the largest first, equals from
 * left to right, a NaN before all. Made for small k: a GPU goes through the rows k times.
 */
export const topKKernel: Kernel<TopKParams> = kernel<TopKParams>({
  name: "top_k",
  bindings: {
    x: { read: "rows columns" },
    values: { write: "rows k" },
    indices: { write: "rows k", dtype: "i32" },
  },
  params: { rows: "u32", columns: "u32", k: "u32" },
  gpu: ({ rows, columns }) => ({
    wgsl,
    constants: { WORKGROUP: columns >= 4096 ? 256 : 64 },
    workgroups: rows,
  }),
  cpu({ x, values, indices }, { rows, columns, k }) {
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * columns, (r + 1) * columns);
      const best = largest(row, k);
      for (let j = 0; j < k; j++) {
        values[r * k + j] = row[best[j]];
        indices[r * k + j] = best[j];
      }
    }
  },
  split: "rows",
});

/** Positions of the k largest, by insertion into a sorted list: most elements fail at its end. */
function largest(row: ArrayLike<number>, k: number): number[] {
  const best: number[] = [];
  const above = (i: number, j: number): boolean =>
    row[i] > row[j] || (Number.isNaN(row[i]) && !Number.isNaN(row[j]));
  for (let i = 0; i < row.length; i++) {
    if (best.length === k && !above(i, best[k - 1])) continue;
    let at = best.length;
    while (at > 0 && above(i, best[at - 1])) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}
