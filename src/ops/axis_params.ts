/**
 * How kernels that work along one axis see a tensor.
 *
 * @module
 */
import type { AxisParams } from "../../kernels/rows/softmax.ts";
import { type Shape, sizeOf } from "../tensor/shape.ts";

/** A shape seen as (outer, columns, inner) around an axis. */
export function alongAxis(shape: Shape, axis: number): AxisParams {
  return {
    outer: sizeOf(shape.slice(0, axis)),
    columns: shape[axis],
    inner: sizeOf(shape.slice(axis + 1)),
  };
}
