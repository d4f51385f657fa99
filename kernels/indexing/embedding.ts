/**
 * Embedding: rows of a table by id, and the gradient of the table.
 *
 * @module
 */
import { BYTES, isFloat } from "../../src/device/dtype.ts";
import { type Kernel, kernel, type SimdJob } from "../../src/device/kernel.ts";
import embeddingWgsl from "./embedding.wgsl" with { type: "text" };
import sortIdsWgsl from "./sort_ids.wgsl" with { type: "text" };
import embeddingBackwardWgsl from "./embedding_backward.wgsl" with { type: "text" };

/** Parameters of {@linkcode embeddingKernel}. */
export type EmbeddingParams = {
  /** The number of ids. */
  rows: number;
  /** The length of a row. */
  columns: number;
  /** The first bound row of the table; 0 unless a launch is split. */
  firstRow: number;
  /** The number of bound rows of the table. */
  tableRows: number;
  /** The number of rows of the whole table. */
  vocabulary: number;
};

/** Throws a `RangeError` that names the first id outside the vocabulary and its position. */
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

/** The ids of a WASM job, in its shared memory. */
function idsOfJob<P>({ at, memory }: SimdJob<P>, name: string, count: number): Int32Array {
  return new Int32Array(memory.buffer, at[name], count);
}

/**
 * y (rows, columns) = table (vocabulary, columns) at ids (rows), of `i32` or `u32`. An id outside the vocabulary
 * throws a `RangeError` on the CPU; on a GPU, which cannot throw, its row is NaN.
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
  // A table too long to bind is bound in pieces; each launch fills the rows whose ids are in its piece.
  split: "tableRows",
  splitStart: "firstRow",
});

/** The ids that are sorted together: an invocation finds the place of its id by counting the smaller ones. */
const SORT_BLOCK = 1024;

/** Parameters of {@linkcode sortIds}. */
export type SortIdsParams = {
  /** The number of ids. */
  count: number;
};

/**
 * sorted (2, count) from ids (count), in independent blocks of 1,024: the ids in ascending order, then their indices,
 * which are ascending among equal ids.
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
      // As u32, so that negative ids come last.
      indices.sort((a, b) => (ids[a] >>> 0) - (ids[b] >>> 0));
      indices.forEach((index, i) => {
        sorted[first + i] = ids[index] >>> 0;
        sorted[count + first + i] = index;
      });
    }
  },
});

/** Parameters of {@linkcode embeddingBackward}. */
export type EmbeddingBackwardParams = {
  /** The number of ids. */
  rows: number;
  /** The length of a row. */
  columns: number;
  /** The first bound row of the table; 0 unless a launch is split. */
  firstRow: number;
  /** The number of bound rows of the table. */
  tableRows: number;
};

/**
 * table (tableRows, columns) += x (rows, columns) at ids (rows); sorted is the output of `sortIds` for them. Rows
 * with the same id are added in order, so the sum is reproducible.
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
    // For each block, at most all of its rows, and 11 steps of two searches.
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
