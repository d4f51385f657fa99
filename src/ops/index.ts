/**
 * Indexing: rows and elements by index, the largest elements of rows, and one-hot rows.
 *
 * @module
 */
import { fill } from "../../kernels/elementwise/fill.ts";
import { embeddingKernel } from "../../kernels/indexing/embedding.ts";
import { quantisedEmbeddings } from "../../kernels/indexing/quantised_embedding.ts";
import { gatherBackward, gatherKernel } from "../../kernels/indexing/gather.ts";
import { topKKernel, topKRounds } from "../../kernels/sampling/top_k.ts";
import { type DType, isFloat, isQuantised } from "../device/dtype.ts";
import { MAX_ITERATIONS } from "../device/kernel.ts";
import { arange, constant } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, resolveAxis, type Shape, sizeOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkIds, checkRank, sameDevice } from "./check.ts";
import { cast, equal } from "./elementwise.ts";
import { addRows, placeFor, planesOf } from "./launch.ts";
import { reshape, transpose, unsqueeze } from "./shape.ts";

/**
 * Returns the rows of `weight` (V, E) at `ids` (...), of `i32` or `u32`: (..., E). `weight` may be longer than the
 * device can bind. The backward pass adds up the gradients of equal ids, in order. Rows of a quantised weight are f32,
 * and no gradient flows into it.
 *
 * Throws a `TypeError` if the ids are not integers or the weight does not have two axes. An id outside the vocabulary
 * throws a `RangeError` on the CPU; a GPU cannot throw and gives a row of NaN.
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
  const [vocabulary, columns] = weight.shape as [number, number];
  if (isQuantised(weight.dtype)) {
    const y = Tensor.empty(device, [...ids.shape, columns]);
    const params = { rows: ids.size, columns, vocabulary };
    const bindings = { ids, ...planesOf(weight), y };
    device.launch(quantisedEmbeddings[weight.dtype], bindings, params);
    return y;
  }
  const y = Tensor.empty(device, [...ids.shape, columns], weight.dtype);
  const table = { firstRow: 0, tableRows: vocabulary };
  device.launch(embeddingKernel, { ids, table: weight, y }, {
    rows: ids.size,
    columns,
    ...table,
    vocabulary,
  });
  const wanted = { device, shape: weight.shape, dtype: weight.dtype };
  return record("embedding", [weight], y, [ids], (dOut, [ids], _, places) => {
    const { y: grad, accumulate } = placeFor(wanted, places[0]);
    if (accumulate && places[0]?.takeRows?.(ids, dOut)) return [grad];
    if (!accumulate) device.launch(fill, { y: grad }, { count: grad.size, value: 0 });
    addRows(grad, ids, dOut);
    return [grad];
  });
}

/**
 * Returns the slices of `x` (n, ...) at `ids` along its first axis. `ids` has any shape, of `i32` or `u32`; the result
 * has the shape of `ids` followed by the other axes of `x`. Invalid ids are treated as in `embedding`.
 */
export function take(x: Tensor, ids: Tensor): Tensor {
  checkIds("take", ids);
  if (x.shape.length === 0) throw new TypeError(`take: expected at least one axis but got ${x}`);
  const [rows, ...rest] = x.shape;
  const found = embedding(reshape(x, [rows!, sizeOf(rest)]), ids);
  return reshape(found, [...ids.shape, ...rest]);
}

/**
 * Returns the elements of `x` (..., n) at `ids` (..., k), of `i32` or `u32`, along the last axis, or along `axis`, as
 * `torch.gather` and NumPy do. The result has the shape of `ids`. An element that is picked twice receives both
 * gradients. The last axis is the fastest: for another one `x` is copied.
 *
 * Throws a `TypeError` if the other axes differ, and a `RangeError` for an axis that does not exist. An id outside the
 * axis throws a `RangeError` on the CPU; a GPU cannot throw and gives 0.
 *
 * @example
 * ```ts
 * import { CpuDevice, takeAlongAxis, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2, 3], [4, 5, 6]], { device });
 * using ids = tensor([[2], [0]], { device, dtype: "i32" });
 * using picked = takeAlongAxis(x, ids);
 * assert.deepEqual(await picked.toArray(), [[3], [4]]);
 * ```
 */
export function takeAlongAxis(x: Tensor, ids: Tensor, axis?: number): Tensor {
  checkIds("takeAlongAxis", ids);
  const device = sameDevice("takeAlongAxis", x, ids);
  const at = resolveAxis("takeAlongAxis", axis ?? -1, x.shape);
  if (
    x.shape.length !== ids.shape.length || x.shape.some((n, i) => i !== at && n !== ids.shape[i])
  ) {
    throw new TypeError(
      `takeAlongAxis: expected shapes that differ in axis ${at} only but got ` +
        `${formatShape(x.shape)} and ${formatShape(ids.shape)}`,
    );
  }
  if (at !== x.shape.length - 1) {
    return scoped(() => {
      const picked = takeAlongAxis(transpose(x, at, -1), transpose(ids, at, -1));
      return transpose(picked, at, -1);
    });
  }
  const columns = x.shape.at(-1)!;
  const taken = ids.shape.at(-1)!;
  const y = Tensor.empty(device, ids.shape, x.dtype);
  device.launch(gatherKernel, { x, ids, y }, { count: y.size, columns, taken });
  if (!isFloat(x.dtype)) return y;
  const { shape } = x;
  return record("takeAlongAxis", [x], y, [ids], (dOut, [ids]) => [putAlongAxis(dOut, ids!, shape)]);
}

/** Adds `dOut` (..., k) to zeros at `ids` (..., k) along the last axis: the gradient of {@linkcode takeAlongAxis}. */
export function putAlongAxis(dOut: Tensor, ids: Tensor, shape: Shape): Tensor {
  const dX = constant(dOut.device, shape, 0, dOut.dtype);
  const columns = shape.at(-1)!;
  const rows = sizeOf(shape.slice(0, -1));
  const taken = ids.shape.at(-1)!;
  for (let first = 0; first < taken; first += MAX_ITERATIONS) {
    const end = Math.min(taken, first + MAX_ITERATIONS);
    dOut.device.launch(gatherBackward, { dOut, ids, dX }, { rows, columns, taken, first, end });
  }
  return dX;
}

/** What {@linkcode topK} finds. */
export interface TopK {
  /** The elements (..., k), in descending order. */
  readonly values: Tensor;
  /** Their positions (..., k), of `i32`. */
  readonly indices: Tensor;
}

/**
 * Returns the `k` largest elements of each row of `x` (..., n) and their positions. Equal elements come from left to
 * right, and NaN comes first. Gradients flow through the values to where they came from; positions have none. Meant for
 * small k: a GPU reads the rows k times.
 *
 * Throws a `RangeError` unless 1 <= k <= n, and a `TypeError` for integers.
 *
 * @example
 * ```ts
 * import { CpuDevice, tensor, topK } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 9, 4]], { device });
 * const { values, indices } = topK(x, 2);
 * assert.deepEqual(await values.toArray(), [[9, 4]]);
 * assert.deepEqual(await indices.toArray(), [[1, 2]]);
 * ```
 */
export function topK(x: Tensor, k: number): TopK {
  checkFloat("topK", x);
  const columns = x.shape.at(-1) ?? 0;
  if (!Number.isInteger(k) || k < 1 || k > columns) {
    throw new RangeError(
      `topK: expected k from 1 to the length of the last axis of ${
        formatShape(x.shape)
      } but got ${k}`,
    );
  }
  const outer = x.shape.slice(0, -1);
  const values = Tensor.empty(x.device, [...outer, k], x.dtype);
  const indices = Tensor.empty(x.device, [...outer, k], "i32");
  const rows = sizeOf(outer);
  const rounds = x.device.kind === "cpu" ? k : topKRounds(columns);
  for (let first = 0; first < k; first += rounds) {
    const end = Math.min(k, first + rounds);
    x.device.launch(topKKernel, { x, values, indices }, { rows, columns, k, first, end });
  }
  const { shape } = x;
  record(
    "topK",
    [x],
    values,
    [indices],
    (dOut, [indices]) => [putAlongAxis(dOut, indices!, shape)],
  );
  return { values, indices };
}

/**
 * Returns a one-hot row for each id (...) of `i32` or `u32`: (..., classes), 1 at the id and 0 elsewhere, `i32` by
 * default. The row of an id that is not a class is all 0. Has no gradient. Throws a `RangeError` unless `classes` is an
 * integer of at least 1.
 *
 * @example
 * ```ts
 * import { CpuDevice, oneHot, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using ids = tensor([2, 0], { device, dtype: "i32" });
 * using rows = oneHot(ids, 3, { dtype: "f32" });
 * assert.deepEqual(await rows.toArray(), [[0, 0, 1], [1, 0, 0]]);
 * ```
 */
export function oneHot(
  ids: Tensor,
  classes: number,
  options?: { readonly dtype?: DType },
): Tensor {
  const { dtype = "i32" } = options ?? {};
  checkIds("oneHot", ids);
  if (!Number.isInteger(classes) || classes < 1) {
    throw new RangeError(`oneHot: expected 1 class or more but got ${classes}`);
  }
  const { device, dtype: type } = ids;
  return scoped(() =>
    cast(equal(unsqueeze(ids, -1), arange(classes, { device, dtype: type })), dtype)
  );
}
