/**
 * Picking elements by their positions.
 *
 * @module
 */
import { gatherBackward, gatherKernel } from "../../kernels/indexing/gather.ts";
import { isFloat } from "../device/dtype.ts";
import { MAX_ITERATIONS } from "../device/kernel.ts";
import { constant } from "../tensor/create.ts";
import { formatShape, sameShape, type Shape, sizeOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkIds, sameDevice } from "./check.ts";
import { embedding } from "./embedding.ts";
import { reshape } from "./reshape.ts";

/**
 * The parts of `x` (n, ...) at `ids` (any shape, `i32` or `u32`) along its first axis: the shape of `ids`, then
 * the other axes of `x`. Ids as in `embedding`.
 */
export function take(x: Tensor, ids: Tensor): Tensor {
  if (x.shape.length === 0) throw new TypeError(`take: expected one axis at least but got ${x}`);
  const [rows, ...rest] = x.shape;
  const found = embedding(reshape(x, [rows, sizeOf(rest)]), ids);
  return reshape(found, [...ids.shape, ...rest]);
}

/**
 * The elements of `x` (..., n) at `ids` (..., k) along the last axis, of `i32` or `u32`: shape of `ids`. An
 * element that is picked twice gets both gradients.
 *
 * Throws a `TypeError` when the other axes differ. An id outside the axis throws a `RangeError` on the CPU
 * device; a GPU cannot throw and gives 0.
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
export function takeAlongAxis(x: Tensor, ids: Tensor): Tensor {
  checkIds("takeAlongAxis", ids);
  const device = sameDevice("takeAlongAxis", x, ids);
  if (x.shape.length === 0 || !sameShape(x.shape.slice(0, -1), ids.shape.slice(0, -1))) {
    throw new TypeError(
      `takeAlongAxis: expected shapes that differ in the last axis only but got ` +
        `${formatShape(x.shape)} and ${formatShape(ids.shape)}`,
    );
  }
  const columns = x.shape.at(-1)!;
  const taken = ids.shape.at(-1)!;
  const y = Tensor.empty(device, ids.shape, x.dtype);
  device.launch(gatherKernel, { x, ids, y }, { count: y.size, columns, taken });
  if (!isFloat(x.dtype)) return y;
  const { shape } = x;
  return record("takeAlongAxis", [x], y, [ids], (dOut, [ids]) => [putAlongAxis(dOut, ids, shape)]);
}

/** A tensor of zeros to which `dOut` (..., k) is added at `ids` (..., k) along the last axis: the gradient of picking. */
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
