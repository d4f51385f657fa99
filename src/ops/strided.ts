/**
 * Launches of the copies between dense and strided tensors.
 *
 * @module
 */
import { stridedKernels, stridedParams } from "../../kernels/indexing/strided.ts";
import { BYTES } from "../device/dtype.ts";
import { type Shape, stridesOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";

/** True where elements by these strides lie one after the other. */
function isRun(shape: Shape, strides: readonly number[]): boolean {
  const own = stridesOf(shape);
  return shape.every((length, axis) => length === 1 || strides[axis] === own[axis]);
}

/** Copies elements byte for byte, which needs no binding; false where they do not fill whole words. */
function copyRun(from: Tensor, at: number, to: Tensor, toAt: number, count: number): boolean {
  const bytes = BYTES[from.dtype];
  if (at * bytes % 4 || toAt * bytes % 4 || count * bytes % 4) return false;
  from.device.copy(from.buffer, at * bytes, to.buffer, toAt * bytes, count * bytes);
  return true;
}

/** A new tensor of `shape` that reads `x` by strides from the element `base` on. No gradient is recorded. */
export function copyStrided(
  x: Tensor,
  shape: Shape,
  strides: readonly number[],
  base: number,
): Tensor {
  const y = Tensor.empty(x.device, shape, x.dtype);
  if (y.size === 0) return y;
  if (isRun(shape, strides) && copyRun(x, base, y, 0, y.size)) return y;
  x.device.launch(stridedKernels.gather, { x, y }, stridedParams("copy", shape, strides, base));
  return y;
}

/** Writes `x` into `y` by strides from the element `base` on. */
export function writeStrided(x: Tensor, y: Tensor, strides: readonly number[], base: number): void {
  if (x.size === 0) return;
  if (isRun(x.shape, strides) && copyRun(x, 0, y, base, x.size)) return;
  x.device.launch(
    stridedKernels.scatter,
    { x, y },
    stridedParams("copy", x.shape, strides, base),
  );
}
