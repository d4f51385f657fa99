/**
 * Rows of a table by id, and the gradient of the table.
 *
 * @module
 */
import { BYTES, isFloat } from "../../src/device/dtype.ts";
import { type Kernel, kernel, type SimdJob } from "../../src/device/kernel.ts";
import embeddingWgsl from "./embedding.wgsl" with { type: "text" };
import sortIdsWgsl from "./sort_ids.wgsl" with { type: "text" };
import embeddingBackwardWgsl from "./embedding_backward.wgsl" with { type: "text" };

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
    if (!(ids[i]! >= 0 && ids[i]! < vocabulary)) {
      throw new RangeError(
        `${op}: expected ids from 0 to ${vocabulary - 1} but got ${ids[i]} at position ${i}`,
      );
    }
  }
}

/** The ids of a WASM job, which lie in its shared memory. */
function idsOfJob<P>({ at, memory }: SimdJob<P>, name: string, count: number): Int32Array {
  return new Int32Array(memory.buffer, at[name], count);
}

/**
 * y (rows, columns) = table (vocabulary, columns) at ids (rows), of `i32` or `u32`. An id outside the
 * vocabulary throws a `RangeError` on the CPU; on a GPU, which cannot throw, its row is NaN.
 */
export const embeddingKernel: Kernel<EmbeddingParams> = kernel<EmbeddingParams>({
  name: "embedding",
  bindings: {
    ids: { read: "rows", dtype: "i32" },
    table: { read: "tableRows columns", half: true },
    y: { write: "rows columns", half: true },
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
      wgsl: embeddingWgsl,
      vec4,
      constants: { S: dtypes.table!, POISON: isFloat(dtypes.table!) },
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
    job.run("gather_rows", rows, chunk, at.table!, at.ids!, at.y!, columns, vocabulary, half);
    return true;
  },
  // A table that is too long to bind is walked through; each piece fills the rows whose ids it has.
  split: "tableRows",
  splitStart: "firstRow",
});

/** Ids that are sorted together: an invocation finds the place of its own by counting the smaller ones. */
const SORT_BLOCK = 1024;

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
    wgsl: sortIdsWgsl,
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
    return {
      wgsl: embeddingBackwardWgsl,
      vec4,
      constants: { BLOCK: SORT_BLOCK },
      workgroups,
      iterations,
    };
  },
  cpu({ x, ids, table }, { rows, columns, firstRow, tableRows }) {
    checkIdsInRange(ids.subarray(0, rows), firstRow + tableRows, "embedding_backward");
    for (let r = 0; r < rows; r++) {
      const at = (ids[r] - firstRow) * columns;
      for (let c = 0; c < columns; c++) table[at + c] += x[r * columns + c];
    }
  },
  simd({ at, params: { rows, columns, tableRows }, run }) {
    run("scatter_add_rows", columns, 16, at.x!, at.ids!, at.table!, rows, columns, tableRows);
    return true;
  },
  split: "tableRows",
  splitStart: "firstRow",
});
