/**
 * Operations that change the shape of a tensor or move its elements.
 *
 * @module
 */
import { constant } from "../tensor/create.ts";
import {
  broadcastShapes,
  formatShape,
  resolveAxis,
  sameShape,
  type Shape,
  stridesOf,
} from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice, sameDType } from "./check.ts";
import { copyStrided, expand, sumTo, writeStrided } from "./launch.ts";

/**
 * The elements of `x` in row-major order under another shape of the same size; one length may be -1 and is
 * then worked out. Shares the memory of `x`. Throws a `TypeError` when the sizes differ.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const { shape: before } = x;
  return record("reshape", [x], x.alias(shape), [], (dOut) => [dOut.alias(before)]);
}

/**
 * `x` stretched to `shape` by NumPy's rules, copied. Throws a `TypeError` with both shapes when it does not
 * stretch to it.
 */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (!sameShape(broadcastShapes("broadcastTo", x.shape, shape), shape)) {
    throw new TypeError(
      `broadcastTo: shape ${formatShape(x.shape)} does not stretch to ${formatShape(shape)}`,
    );
  }
  const { shape: before } = x;
  const y = sameShape(before, shape) ? x.alias() : expand(x, shape);
  return record("broadcastTo", [x], y, [], (dOut) => [sumTo(dOut, before)]);
}

/**
 * The tensor whose axis `i` is the axis `axes[i]` of `x`. Throws a `RangeError` unless `axes` names every
 * axis once.
 */
export function permute(x: Tensor, axes: Shape): Tensor {
  const order = axes.map((axis) => resolveAxis("permute", axis, x.shape));
  if (order.length !== x.shape.length || new Set(order).size !== order.length) {
    throw new RangeError(
      `permute: expected each of ${x.shape.length} axes once but got [${axes.join(", ")}]`,
    );
  }
  const strides = stridesOf(x.shape);
  const y = copyStrided(x, order.map((axis) => x.shape[axis]!), order.map((a) => strides[a]!), 0);
  return record("permute", [x], y, [], (dOut) => [
    permute(dOut, order.map((_, axis) => order.indexOf(axis))),
  ]);
}

/** `x` with two axes swapped, the last two by default. Throws a `RangeError` for axes that do not exist. */
export function transpose(x: Tensor, first = -2, second = -1): Tensor {
  const a = resolveAxis("transpose", first, x.shape);
  const b = resolveAxis("transpose", second, x.shape);
  const axes = x.shape.map((_, axis) => axis === a ? b : axis === b ? a : axis);
  return permute(x, axes);
}

/**
 * Start, stop (exclusive) and step along an axis; the step is 1 where it is left out. Negative starts and
 * stops count from the end.
 */
export type SliceRange = readonly [start: number, stop?: number, step?: number];

/**
 * The elements of `x` within one range per axis, the first axes first; axes without a range are taken
 * whole. Stops beyond the end mean the end.
 *
 * Throws a `RangeError` for more ranges than axes, numbers that are not whole, and steps below 1.
 */
export function slice(x: Tensor, ranges: readonly SliceRange[]): Tensor {
  const { shape } = x;
  if (ranges.length > shape.length) {
    throw new RangeError(`slice: got ${ranges.length} ranges for shape ${formatShape(shape)}`);
  }
  const own = stridesOf(shape);
  let base = 0;
  const lengths = [...shape];
  const strides = [...own];
  ranges.forEach(([from, to, step = 1], axis) => {
    const length = shape[axis]!;
    const end = to ?? length;
    if (![from, end, step].every(Number.isInteger) || step < 1) {
      throw new RangeError(
        `slice: expected whole numbers and a step of 1 or more but got [${
          ranges[axis]
        }] for axis ` +
          axis,
      );
    }
    const start = Math.max(0, Math.min(length, from < 0 ? from + length : from));
    const stop = Math.max(start, Math.min(length, end < 0 ? end + length : end));
    lengths[axis] = Math.ceil((stop - start) / step);
    strides[axis] = own[axis]! * step;
    base += start * own[axis]!;
  });
  return record("slice", [x], copyStrided(x, lengths, strides, base), [], (dOut) => {
    const dX = constant(dOut.device, shape, 0, dOut.dtype);
    writeStrided(dOut, dX, strides, base);
    return [dX];
  });
}

/**
 * Cuts `x` along an axis into parts of these lengths, or of one length, the last being shorter. Throws a
 * `RangeError` when lengths do not add up to the axis.
 */
export function split(x: Tensor, lengths: number | readonly number[], axis = 0): Tensor[] {
  const at = resolveAxis("split", axis, x.shape);
  const whole = x.shape[at]!;
  if (typeof lengths === "number" && !(lengths >= 1)) {
    throw new RangeError(`split: expected a length of 1 or more but got ${lengths}`);
  }
  const parts = typeof lengths === "number"
    ? Array.from(
      { length: Math.ceil(whole / lengths) },
      (_, i) => Math.min(lengths, whole - i * lengths),
    )
    : lengths;
  if (parts.reduce((sum, length) => sum + length, 0) !== whole) {
    throw new RangeError(
      `split: lengths ${formatShape(parts)} do not add up to axis ${at} of ${formatShape(x.shape)}`,
    );
  }
  let start = 0;
  return parts.map((length) => {
    const ranges = x.shape.map((all, i): SliceRange =>
      i === at ? [start, start + length] : [0, all]
    );
    start += length;
    return slice(x, ranges);
  });
}

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
  const { shape: first, dtype } = tensors[0]!;
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
    total += shape[at]!;
  }
  const y = Tensor.empty(device, first.with(at, total), dtype);
  const strides = stridesOf(y.shape);
  tensors.forEach((one, i) => writeStrided(one, y, strides, starts[i]! * strides[at]!));
  const lengths = tensors.map((one) => one.shape[at]);
  return record("concat", tensors, y, [], (dOut, _, wanted) =>
    lengths.map((length, i) => {
      if (!wanted[i]) return null;
      const range: SliceRange = [starts[i]!, starts[i]! + length!];
      return slice(dOut, dOut.shape.map((all, k): SliceRange => k === at ? range : [0, all]));
    }));
}

/** Tensors of one shape, joined along a new axis. */
export function stack(tensors: readonly Tensor[], options: JoinOptions | number = {}): Tensor {
  if (tensors.length === 0) throw new TypeError("stack: expected one tensor at least");
  const { axis = 0 } = typeof options === "number" ? { axis: options } : options;
  const { shape } = tensors[0]!;
  const at = resolveAxis("stack", axis, [...shape, 1]);
  const longer = shape.toSpliced(at, 0, 1);
  return concat(tensors.map((one) => reshape(one, longer)), { axis: at });
}
