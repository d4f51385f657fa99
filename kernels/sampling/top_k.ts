/**
 * The k largest elements of each row.
 *
 * @module
 */
import { type Kernel, kernel, MAX_ITERATIONS } from "../../src/device/kernel.ts";
import wgsl from "./top_k.wgsl" with { type: "text" };

/** Parameters of {@linkcode topKKernel}. */
export type TopKParams = {
  /** The number of rows. */
  rows: number;
  /** The length of a row. */
  columns: number;
  /** How many elements of each row are found, from 1 to `columns`. */
  k: number;
  /** The first rank that this launch finds; `values` and `indices` already hold those before. */
  first: number;
  /** One past the last rank; a GPU finds at most {@linkcode topKRounds} in one launch. */
  end: number;
};

const lanesOf = (columns: number): number => columns >= 4096 ? 256 : 64;

/** The loop iterations of an invocation for one rank. */
function iterationsOf(columns: number): number {
  const lanes = lanesOf(columns);
  return 1 + Math.ceil(columns / lanes) + Math.log2(lanes);
}

/** How many ranks a GPU finds in one launch for rows of this length. */
export function topKRounds(columns: number): number {
  return Math.max(1, Math.floor(MAX_ITERATIONS / iterationsOf(columns)));
}

/**
 * values and indices (rows, k) of the largest elements of x (rows, columns), in descending order, equals from left to
 * right, NaN before all. Made for small k: a GPU makes k passes over the rows.
 */
export const topKKernel: Kernel<TopKParams> = kernel<TopKParams>({
  name: "top_k",
  bindings: {
    x: { read: "rows columns" },
    values: { update: "rows k" },
    indices: { update: "rows k", dtype: "i32" },
  },
  params: { rows: "u32", columns: "u32", k: "u32", first: "u32", end: "u32" },
  gpu: ({ rows, columns, first, end }) => ({
    wgsl,
    constants: { WORKGROUP: lanesOf(columns) },
    workgroups: rows,
    iterations: (end - first) * iterationsOf(columns),
  }),
  cpu({ x, values, indices }, { rows, columns, k, first, end }) {
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * columns, (r + 1) * columns);
      const best = largest(row, end);
      for (let j = first; j < end; j++) {
        values[r * k + j] = row[best[j]!];
        indices[r * k + j] = best[j];
      }
    }
  },
  split: "rows",
});

/** The indices of the k largest, by insertion into a sorted list; most elements are rejected at its end. */
function largest(row: ArrayLike<number>, k: number): number[] {
  const best: number[] = [];
  const above = (i: number, j: number): boolean =>
    row[i]! > row[j]! || (Number.isNaN(row[i]) && !Number.isNaN(row[j]));
  for (let i = 0; i < row.length; i++) {
    if (best.length === k && !above(i, best[k - 1]!)) continue;
    let at = best.length;
    while (at > 0 && above(i, best[at - 1]!)) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}
