/**
 * Joining tensors.
 *
 * @module
 */
import { formatShape, resolveAxis, stridesOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice, sameDType } from "./check.ts";
import { reshape } from "./reshape.ts";
import { slice, type SliceRange } from "./slice.ts";
import { writeStrided } from "./strided.ts";

/** Options of {@linkcode concat} and {@linkcode stack}. */
export interface JoinOptions {
  /** The axis along which they are joined. Default: 0. */
  readonly axis?: number;
}

/**
 * The tensors one after the other along an axis; their other axes must be equal. Throws a `TypeError` with
 * the shapes when they are not, and when dtypes or devices differ.
 */
export function concat(tensors: readonly Tensor[], options: JoinOptions | number = {}): Tensor {
  if (tensors.length === 0) throw new TypeError("concat: expected one tensor at least");
  const { axis = 0 } = typeof options === "number" ? { axis: options } : options;
  const [{ shape: first, dtype }] = tensors;
  const at = resolveAxis("concat", axis, first);
  const device = sameDevice("concat", ...tensors);
  sameDType("concat", ...tensors);
  for (const { shape } of tensors) {
    if (shape.length !== first.length || shape.some((n, i) => i !== at && n !== first[i])) {
      throw new TypeError(
        `concat: shapes ${tensors.map((one) => formatShape(one.shape)).join(" and ")} ` +
          `differ in other axes than ${at}`,
      );
    }
  }
  const starts: number[] = [];
  let total = 0;
  for (const { shape } of tensors) {
    starts.push(total);
    total += shape[at];
  }
  const y = Tensor.empty(device, first.with(at, total), dtype);
  const strides = stridesOf(y.shape);
  tensors.forEach((one, i) => writeStrided(one, y, strides, starts[i] * strides[at]));
  const lengths = tensors.map((one) => one.shape[at]);
  return record("concat", tensors, y, [], (dOut, _, wanted) =>
    lengths.map((length, i) => {
      if (!wanted[i]) return null;
      const range: SliceRange = [starts[i], starts[i] + length];
      return slice(dOut, dOut.shape.map((all, k): SliceRange => k === at ? range : [0, all]));
    }));
}

/** Tensors of one shape, joined along a new axis. */
export function stack(tensors: readonly Tensor[], options: JoinOptions | number = {}): Tensor {
  if (tensors.length === 0) throw new TypeError("stack: expected one tensor at least");
  const { axis = 0 } = typeof options === "number" ? { axis: options } : options;
  const [{ shape }] = tensors;
  const at = resolveAxis("stack", axis, [...shape, 1]);
  const longer = shape.toSpliced(at, 0, 1);
  return concat(tensors.map((one) => reshape(one, longer)), { axis: at });
}
