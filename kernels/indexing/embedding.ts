/**
 * Rows of a table by their ids.
 *
 * @module
 */
import { BYTES, isFloat } from "../../src/device/dtype.ts";
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./embedding.wgsl" with { type: "text" };

/** Numbers of {@linkcode embeddingKernel}. */
export type EmbeddingParams = {
  /** How many ids. */
  rows: number;
  /** Length of a row. */
  columns: number;
  /** The table's first row that is bound; 0 but where a launch is split. */
  firstRow: number;
  /** How many rows of the table are bound. */
  tableRows: number;
  /** How many rows the table has. */
  vocabulary: number;
};

/** Throws a `RangeError` with the first id outside the vocabulary and its position. */
export function checkIdsInRange(
  ids: ArrayLike<number>,
  vocabulary: number,
  op = "embedding",
): void {
  for (let i = 0; i < ids.length; i++) {
    if (!(ids[i] >= 0 && ids[i] < vocabulary)) {
      throw new RangeError(
        `${op}: id ${ids[i]} at position ${i} is outside a vocabulary of ${vocabulary}`,
      );
    }
  }
}

/** The ids of a WASM job, which lie in its shared memory. */
function idsOfJob(
  // deno-lint-ignore no-explicit-any -- the CPU device's own
  job: { readonly at: Readonly<Record<string, number>>; readonly context: any },
  name: string,
  count: number,
): Int32Array {
  return new Int32Array(job.context.pool.memory.buffer, job.at[name], count);
}

/**
 * y (rows, columns) = table (vocabulary, columns) at ids (rows), of `i32` or `u32`. An id outside the
 * vocabulary throws a `RangeError` on the CPU; on a GPU, which cannot throw, its row is NaN.
 */
export const embeddingKernel: Kernel<EmbeddingParams> = kernel<EmbeddingParams>({
  name: "embedding",
  bindings: {
    ids: { read: "rows", dtype: "i32" },
    table: { read: "tableRows columns" },
    y: { write: "rows columns" },
  },
  params: {
    rows: "u32",
    columns: "u32",
    firstRow: "u32",
    tableRows: "u32",
    vocabulary: "u32",
  },
  gpu({ rows, columns }, { dtypes }) {
    const vec4 = columns % 4 === 0 && "columns";
    return {
      wgsl,
      vec4,
      constants: { S: dtypes.table, POISON: isFloat(dtypes.table) },
      workgroups: Math.ceil(rows * columns / (vec4 ? 4 : 1) / 64),
    };
  },
  cpu({ ids, table, y }, { rows, columns, vocabulary }) {
    checkIdsInRange(ids.subarray(0, rows), vocabulary);
    for (let r = 0; r < rows; r++) {
      y.set(table.subarray(ids[r] * columns, (ids[r] + 1) * columns), r * columns);
    }
  },
  simd(job) {
    const { at, bindings, params: { rows, columns, vocabulary } } = job;
    checkIdsInRange(idsOfJob(job, "ids", rows), vocabulary);
    const chunk = Math.max(1, Math.floor(16384 / Math.max(1, columns)));
    const half = Number(BYTES[bindings.table!.dtype] === 2);
    job.run("gather_rows", rows, chunk, at.table, at.ids, at.y, columns, vocabulary, half);
    return true;
  },
  moves: true,
  // A table that is too long to bind is walked through; each piece fills the rows whose ids it has.
  split: "tableRows",
  splitStart: "firstRow",
});
