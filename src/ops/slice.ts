/**
 * Parts of a tensor.
 *
 * @module
 */
import { constant } from "../tensor/create.ts";
import { formatShape, resolveAxis, stridesOf } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { copyStrided, writeStrided } from "./strided.ts";

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
    const length = shape[axis];
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
    strides[axis] = own[axis] * step;
    base += start * own[axis];
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
  const whole = x.shape[at];
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
