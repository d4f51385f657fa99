/**
 * Looks up rows of a quantised table by id.
 *
 * @module
 */
import type { QuantisedType } from "../../src/device/dtype.ts";
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { quantisedReader } from "../../src/device/quantised.ts";
import quantised from "../gemm/quantised.wgsl" with { type: "text" };
import { checkIdsInRange } from "./embedding.ts";
import embedding from "./quantised_embedding.wgsl" with { type: "text" };

/** Parameters of {@linkcode quantisedEmbeddings}. */
export type QuantisedEmbeddingParams = {
  /** The number of ids. */
  rows: number;
  /** The length of a row, a multiple of 32. */
  columns: number;
  /** The number of rows of the table. */
  vocabulary: number;
};

function quantisedEmbedding(type: QuantisedType): Kernel<QuantisedEmbeddingParams> {
  const perWord = type === "q8_0" ? 4 : 8;
  return kernel<QuantisedEmbeddingParams>({
    name: `embedding_${type}`,
    bindings: {
      ids: { read: "rows", dtype: "i32" },
      codes: {
        read: ({ vocabulary, columns }) => `${vocabulary * columns / perWord}`,
        dtype: "u32",
      },
      scales: {
        read: ({ vocabulary, columns }) => `${Math.ceil(vocabulary * columns / 64)}`,
        dtype: "u32",
      },
      y: { write: "rows columns", dtype: "f32" },
    },
    params: { rows: "u32", columns: "u32", vocabulary: "u32" },
    gpu: ({ rows, columns }) => ({
      wgsl: `${quantised}\n${embedding}`,
      vec4: "columns",
      constants: { FOUR_BITS: type === "q4_0" },
      workgroups: Math.ceil(rows * columns / 4 / 64),
    }),
    cpu({ ids, codes, scales, y }, { rows, columns, vocabulary }) {
      checkIdsInRange(ids.subarray(0, rows), vocabulary);
      const read = quantisedReader(type, codes, scales);
      for (let i = 0; i < rows * columns; i++) {
        y[i] = read(ids[Math.floor(i / columns)] * columns + i % columns);
      }
    },
  });
}

/**
 * y (rows, columns) = table (vocabulary, columns) at ids (rows), of `i32` or `u32`; one kernel for each type of
 * table, which is bound as `codes` and `scales` (`QuantisedLayout`). An id outside the vocabulary throws a
 * `RangeError` on the CPU; on a GPU, which cannot throw, its row is NaN.
 */
export const quantisedEmbeddings: Readonly<
  Record<QuantisedType, Kernel<QuantisedEmbeddingParams>>
> = {
  q8_0: quantisedEmbedding("q8_0"),
  q4_0: quantisedEmbedding("q4_0"),
};
