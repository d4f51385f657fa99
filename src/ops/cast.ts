/**
 * The same values in another element type.
 *
 * @module
 */
import { unaryKernels } from "../../kernels/elementwise/unary.ts";
import { type DType, isFloat } from "../device/dtype.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { launchFlat } from "./elementwise.ts";

/**
 * The values of `x` as `dtype`; `x` itself where it already is. Floats are cut towards zero to become whole
 * numbers. A gradient flows between `f32` and `f16`; whole numbers have none.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const y = launchFlat(unaryKernels.cast, [x], dtype);
  if (!isFloat(dtype) || !isFloat(x.dtype)) return y;
  const from = x.dtype;
  return record("cast", [x], y, [], (dOut) => [cast(dOut, from)]);
}
