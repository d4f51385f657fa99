/**
 * The largest elements along the last axis.
 *
 * @module
 */
import { topKKernel, topKRounds } from "../../kernels/sampling/top_k.ts";
import { formatShape, sizeOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat } from "./check.ts";
import { putAlongAxis } from "./gather.ts";

/** What {@linkcode topK} finds. */
export interface TopK {
  /** The elements (..., k), the largest first. */
  readonly values: Tensor;
  /** Where they are (..., k), of `i32`. */
  readonly indices: Tensor;
}

/**
 * The `k` largest elements of each row of `x` (..., n) and their positions; equals from left to right, a NaN
 * before all. The gradient of the values goes to where they came from; positions have none. Made for small k:
 * a GPU goes through the rows k times.
 *
 * Throws a `RangeError` unless 1 <= k <= n, and a `TypeError` for whole numbers.
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
  record("topK", [x], values, [indices], (dOut, [indices]) => [putAlongAxis(dOut, indices, shape)]);
  return { values, indices };
}
