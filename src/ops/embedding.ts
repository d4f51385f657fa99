/**
 * Rows of a table by their ids.
 *
 * @module
 */
import { embeddingKernel } from "../../kernels/indexing/embedding.ts";
import { embeddingBackward } from "../../kernels/indexing/embedding_backward.ts";
import { equalIds } from "../../kernels/indexing/equal_ids.ts";
import type { Binding } from "../device/device.ts";
import { constant } from "../tensor/create.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkIds, checkRank, sameDevice } from "./check.ts";

/** Ids whose gradients are added up in one launch: chaining them costs the square of their number. */
const RUN = 8192;

/**
 * The rows of `weight` (V, E) that `ids` (...), of `i32` or `u32`, name: (..., E). `weight` may be longer than
 * the device can bind. Its gradient adds up the rows of equal ids in their order.
 *
 * Throws a `TypeError` for ids that are no whole numbers or a weight without two axes. An id outside the
 * vocabulary is a `RangeError` on the CPU; a GPU cannot throw and gives a row of NaN.
 *
 * @example Look up two rows
 * ```ts
 * import { CpuDevice, embedding, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using weight = tensor([[1, 2], [3, 4], [5, 6]], { device });
 * using ids = tensor([2, 0], { device, dtype: "i32" });
 * using rows = embedding(weight, ids);
 * assert.deepEqual(await rows.toArray(), [[5, 6], [1, 2]]);
 * ```
 */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  const device = sameDevice("embedding", weight, ids);
  checkIds("embedding", ids);
  checkRank("embedding", weight, 2, "a weight (V, E)");
  const [vocabulary, columns] = weight.shape;
  const y = Tensor.empty(device, [...ids.shape, columns], weight.dtype);
  const table = { firstRow: 0, tableRows: vocabulary };
  device.launch(embeddingKernel, { ids, table: weight, y }, {
    rows: ids.size,
    columns,
    ...table,
    vocabulary,
  });
  return record("embedding", [weight], y, [ids], (dOut, [ids]) => {
    const grad = constant(device, [vocabulary, columns], 0, weight.dtype);
    const links = Tensor.empty(device, [2, Math.min(RUN, ids.size)], "u32");
    for (let first = 0; first < ids.size; first += RUN) {
      const rows = Math.min(RUN, ids.size - first);
      const some = part(ids, first, rows);
      device.launch(equalIds, { ids: some, links: part(links, 0, 2 * rows) }, { count: rows });
      const x = part(dOut, first * columns, rows * columns);
      const bindings = { x, ids: some, links: part(links, 0, 2 * rows), table: grad };
      device.launch(embeddingBackward, bindings, { rows, columns, ...table });
    }
    return [grad];
  });
}

/** A run of a tensor's elements. */
function part({ buffer, dtype }: Tensor, offset: number, size: number): Binding {
  return { buffer, dtype, offset, size };
}
