/**
 * Adds rows to the rows of a table that ids name.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { checkIdsInRange } from "./embedding.ts";
import { SORT_BLOCK } from "./sort_ids.ts";
import wgsl from "./embedding_backward.wgsl" with { type: "text" };

/** Numbers of {@linkcode embeddingBackward}. */
export type EmbeddingBackwardParams = {
  /** How many ids. */
  rows: number;
  /** Length of a row. */
  columns: number;
  /** The table's first row that is bound; 0 but where a launch is split. */
  firstRow: number;
  /** How many rows of the table are bound. */
  tableRows: number;
};

/**
 * table (tableRows, columns) += x (rows, columns) at ids (rows); sorted is what `sortIds` gives for them. Rows
 * of one id are added in their order, so that the sum is the same every time.
 */
export const embeddingBackward: Kernel<EmbeddingBackwardParams> = kernel<EmbeddingBackwardParams>({
  name: "embedding_backward",
  bindings: {
    x: { read: "rows columns" },
    ids: { read: "rows", dtype: "i32" },
    sorted: { read: "2 rows", dtype: "u32" },
    table: { update: "tableRows columns" },
  },
  params: { rows: "u32", columns: "u32", firstRow: "u32", tableRows: "u32" },
  gpu({ rows, columns }) {
    const vec4 = columns % 4 === 0 && "columns";
    const workgroups = Math.ceil(rows * columns / (vec4 ? 4 : 1) / 64);
    // Of each block all of its rows at most, and 11 steps of two searches.
    const iterations = rows + 24 * Math.ceil(rows / SORT_BLOCK);
    return { wgsl, vec4, constants: { BLOCK: SORT_BLOCK }, workgroups, iterations };
  },
  cpu({ x, ids, table }, { rows, columns, firstRow, tableRows }) {
    checkIdsInRange(ids.subarray(0, rows), firstRow + tableRows, "embedding_backward");
    for (let r = 0; r < rows; r++) {
      const at = (ids[r] - firstRow) * columns;
      for (let c = 0; c < columns; c++) table[at + c] += x[r * columns + c];
    }
  },
  simd({ at, params: { rows, columns, tableRows }, run }) {
    run("scatter_add_rows", columns, 16, at.x, at.ids, at.table, rows, columns, tableRows);
    return true;
  },
  split: "tableRows",
  splitStart: "firstRow",
});
