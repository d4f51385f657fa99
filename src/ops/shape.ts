/**
 * Operations that change the shape of a tensor or move its elements.
 *
 * @module
 */
import { constant } from "../tensor/create.ts";
import {
  broadcastShapes,
  checkShape,
  formatShape,
  resolveAxes,
  resolveAxis,
  sameShape,
  type Shape,
  sizeOf,
  stridesOf,
} from "../tensor/shape.ts";
import { scoped } from "../tensor/scope.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { sameDevice, sameDType } from "./check.ts";
import { alongAxis, copyStrided, expand, sumTo, writeStrided } from "./launch.ts";

/**
 * Returns the elements of `x` in row-major order with another shape of the same size. One length may be -1 and is then
 * inferred. Shares the memory of `x`. Throws a `TypeError` if the sizes differ.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  x.checkInUse("reshape");
  const { shape: before } = x;
  return record(
    "reshape",
    [x],
    x.alias(checkShape("reshape", shape, x.size)),
    [],
    (dOut) => [dOut.alias(before)],
  );
}

/**
 * Returns `x` without its axes of length 1, or without those of `axes` whose length is 1. Shares the memory of `x`.
 * Throws a `RangeError` for axes that do not exist.
 *
 * @example
 * ```ts
 * import { CpuDevice, squeeze, zeros } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = zeros([1, 3, 1], { device });
 * assert.deepEqual(squeeze(x).shape, [3]);
 * assert.deepEqual(squeeze(x, -1).shape, [1, 3]);
 * ```
 */
export function squeeze(x: Tensor, axes?: number | Shape): Tensor {
  const named = resolveAxes("squeeze", axes, x.shape);
  return reshape(x, x.shape.filter((length, axis) => length !== 1 || !named.includes(axis)));
}

/**
 * Returns `x` with an axis of length 1 inserted before `axis`, from 0 to the number of axes; -1 appends it. Shares the
 * memory of `x`. Throws a `RangeError` for an axis that does not exist.
 *
 * @example
 * ```ts
 * import { CpuDevice, unsqueeze, zeros } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = zeros([2, 3], { device });
 * assert.deepEqual(unsqueeze(x, 0).shape, [1, 2, 3]);
 * assert.deepEqual(unsqueeze(x, -1).shape, [2, 3, 1]);
 * ```
 */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const at = resolveAxis("unsqueeze", axis, [...x.shape, 1]);
  return reshape(x, x.shape.toSpliced(at, 0, 1));
}

/**
 * Returns `x` with the axes from `start` to `end`, both included, merged into one; a scalar gets one axis of length 1.
 * Shares the memory of `x`. Throws a `RangeError` for axes that do not exist or are in the wrong order.
 *
 * @example
 * ```ts
 * import { CpuDevice, flatten, zeros } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = zeros([2, 3, 4], { device });
 * assert.deepEqual(flatten(x).shape, [24]);
 * assert.deepEqual(flatten(x, 1).shape, [2, 12]);
 * ```
 */
export function flatten(x: Tensor, start?: number, end?: number): Tensor {
  const shape = x.shape.length ? x.shape : [1];
  const first = resolveAxis("flatten", start ?? 0, shape);
  const last = resolveAxis("flatten", end ?? -1, shape);
  if (first > last) {
    throw new RangeError(`flatten: expected start before end but got ${start} and ${end}`);
  }
  const joined = sizeOf(shape.slice(first, last + 1));
  return reshape(x, shape.toSpliced(first, last - first + 1, joined));
}

/**
 * Returns a copy of `x`, broadcast to `shape` by NumPy's rules. Throws a `TypeError` if it does not broadcast to it.
 */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  x.checkInUse("broadcastTo");
  if (!sameShape(broadcastShapes("broadcastTo", x.shape, shape), shape)) {
    throw new TypeError(
      `broadcastTo: expected a shape that broadcasts to ${formatShape(shape)} but got ${
        formatShape(x.shape)
      }`,
    );
  }
  const { shape: before } = x;
  const y = sameShape(before, shape) ? x.alias() : expand(x, shape);
  return record("broadcastTo", [x], y, [], (dOut) => [sumTo(dOut, before)]);
}

/**
 * Returns `x` repeated `repeats[i]` times along axis `i`, as `torch.tile` and NumPy do: the numbers are aligned with the
 * last axes, and whichever of the shape and `repeats` is shorter is extended with ones. Gradients of the copies are
 * added up. Throws a `RangeError` for numbers that are not integers of at least 0.
 *
 * @example
 * ```ts
 * import { CpuDevice, tensor, tile } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2], { device });
 * using y = tile(x, [2, 2]);
 * assert.deepEqual(await y.toArray(), [[1, 2, 1, 2], [1, 2, 1, 2]]);
 * ```
 */
export function tile(x: Tensor, repeats: Shape): Tensor {
  x.checkInUse("tile");
  checkShape("tile", repeats);
  const rank = Math.max(x.shape.length, repeats.length);
  const ones = (count: number) => new Array<number>(count).fill(1);
  return scoped(() => {
    let y = reshape(x, [...ones(rank - x.shape.length), ...x.shape]);
    for (const [axis, times] of [...ones(rank - repeats.length), ...repeats].entries()) {
      if (times === 1) continue;
      const { outer, columns, inner } = alongAxis(y.shape, axis);
      const once = reshape(y, [outer, 1, columns * inner]);
      const copies = broadcastTo(once, [outer, times, columns * inner]);
      y = reshape(copies, y.shape.with(axis, times * columns));
    }
    return y;
  });
}

/**
 * Returns a copy of `x` with the elements in reverse order along the axes (default: all). Throws a `RangeError` for axes
 * that do not exist.
 *
 * @example
 * ```ts
 * import { CpuDevice, flip, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2, 3], [4, 5, 6]], { device });
 * using y = flip(x, -1);
 * assert.deepEqual(await y.toArray(), [[3, 2, 1], [6, 5, 4]]);
 * ```
 */
export function flip(x: Tensor, axes?: number | Shape): Tensor {
  x.checkInUse("flip");
  const { shape } = x;
  const list = resolveAxes("flip", axes, shape);
  const strides = stridesOf(shape);
  const base = list.reduce((base, axis) => base + (shape[axis]! - 1) * strides[axis]!, 0);
  const turned = strides.map((stride, axis) => list.includes(axis) ? -stride : stride);
  const y = copyStrided(x, shape, turned, base);
  return record("flip", [x], y, [], (dOut) => [flip(dOut, list)]);
}

/**
 * Returns the tensor whose axis `i` is axis `axes[i]` of `x`. Throws a `RangeError` unless `axes` names every axis
 * once.
 */
export function permute(x: Tensor, axes: Shape): Tensor {
  x.checkInUse("permute");
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

/** Returns `x` with two axes swapped, by default the last two. Throws a `RangeError` for axes that do not exist. */
export function transpose(x: Tensor, first?: number, second?: number): Tensor {
  const a = resolveAxis("transpose", first ?? -2, x.shape);
  const b = resolveAxis("transpose", second ?? -1, x.shape);
  const axes = x.shape.map((_, axis) => axis === a ? b : axis === b ? a : axis);
  return permute(x, axes);
}

/**
 * Start, stop (exclusive) and step along an axis. The step defaults to 1. Negative starts and stops count from the end.
 */
export type SliceRange = readonly [start: number, stop?: number, step?: number];

/**
 * Returns the elements of `x` within one range per axis, starting with the first axis. Axes without a range are kept
 * whole. Stops are limited to the axis's length.
 *
 * Throws a `RangeError` for more ranges than axes, numbers that are not integers, and steps below 1.
 */
export function slice(x: Tensor, ranges: readonly SliceRange[]): Tensor {
  x.checkInUse("slice");
  const { shape } = x;
  if (ranges.length > shape.length) {
    throw new RangeError(
      `slice: expected at most ${shape.length} ranges for shape ${
        formatShape(shape)
      } but got ${ranges.length}`,
    );
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
        `slice: expected integers and a step of 1 or more but got [${ranges[axis]}] for axis ` +
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
    if (sameShape(lengths, shape)) return [dOut];
    const dX = constant(dOut.device, shape, 0, dOut.dtype);
    writeStrided(dOut, dX, strides, base);
    return [dX];
  });
}

/**
 * Returns `x` with `value` (default: 0) added around it: `widths` has the number of elements before and after along each
 * axis, starting with the first. Axes without widths are kept. Throws a `RangeError` for more widths than axes, and for
 * numbers that are not integers of at least 0.
 *
 * @example
 * ```ts
 * import { CpuDevice, pad, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2], [3, 4]], { device });
 * using y = pad(x, [[0, 1], [1, 0]], 9);
 * assert.deepEqual(await y.toArray(), [[9, 1, 2], [9, 3, 4], [9, 9, 9]]);
 * ```
 */
export function pad(
  x: Tensor,
  widths: readonly (readonly [before: number, after: number])[],
  value?: number,
): Tensor {
  x.checkInUse("pad");
  const { shape, device, dtype } = x;
  if (widths.length > shape.length) {
    throw new RangeError(
      `pad: expected at most ${shape.length} widths for shape ${
        formatShape(shape)
      } but got ${widths.length}`,
    );
  }
  for (const width of widths) checkShape("pad", width);
  const longer = shape.map((length, axis) =>
    (widths[axis]?.[0] ?? 0) + length + (widths[axis]?.[1] ?? 0)
  );
  const strides = stridesOf(longer);
  const base = widths.reduce((base, [before], axis) => base + before * strides[axis]!, 0);
  const y = constant(device, longer, value ?? 0, dtype);
  writeStrided(x, y, strides, base);
  return record("pad", [x], y, [], (dOut) => [
    slice(dOut, widths.map(([before], axis): SliceRange => [before, before + shape[axis]!])),
  ]);
}

/**
 * Splits `x` along an axis into parts of the given lengths, or of one length, the last part possibly shorter. Throws a
 * `RangeError` if the lengths are not integers, or do not add up to the axis.
 */
export function split(x: Tensor, lengths: number | readonly number[], axis?: number): Tensor[] {
  const at = resolveAxis("split", axis ?? 0, x.shape);
  const whole = x.shape[at]!;
  if (typeof lengths === "number" && !(Number.isInteger(lengths) && lengths >= 1)) {
    throw new RangeError(`split: expected a length of 1 or more but got ${lengths}`);
  }
  const parts = typeof lengths === "number"
    ? Array.from(
      { length: Math.ceil(whole / lengths) },
      (_, i) => Math.min(lengths, whole - i * lengths),
    )
    : lengths;
  const isLength = (length: number) => Number.isInteger(length) && length >= 0;
  if (!parts.every(isLength) || parts.reduce((sum, length) => sum + length, 0) !== whole) {
    throw new RangeError(
      `split: expected integer lengths that add up to axis ${at} of ${
        formatShape(x.shape)
      } but got ${formatShape(parts)}`,
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
  /** The axis to join along. Default: 0. */
  readonly axis?: number;
}

/**
 * Joins tensors along an existing axis. Their other axes must be equal. Throws a `TypeError` if shapes, dtypes or
 * devices do not match.
 */
export function concat(tensors: readonly Tensor[], options?: JoinOptions | number): Tensor {
  if (tensors.length === 0) {
    throw new TypeError("concat: expected at least one tensor but got none");
  }
  const { axis = 0 } = typeof options === "number" ? { axis: options } : options ?? {};
  const { shape: first, dtype } = tensors[0]!;
  const at = resolveAxis("concat", axis, first);
  const device = sameDevice("concat", ...tensors);
  sameDType("concat", ...tensors);
  for (const { shape } of tensors) {
    if (shape.length !== first.length || shape.some((n, i) => i !== at && n !== first[i])) {
      throw new TypeError(
        `concat: expected shapes that differ in axis ${at} only but got ` +
          tensors.map((one) => formatShape(one.shape)).join(" and "),
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

/** Joins tensors of the same shape along a new axis. Throws a `TypeError` if shapes, dtypes or devices do not match. */
export function stack(tensors: readonly Tensor[], options?: JoinOptions | number): Tensor {
  if (tensors.length === 0) throw new TypeError("stack: expected at least one tensor but got none");
  const { axis = 0 } = typeof options === "number" ? { axis: options } : options ?? {};
  const { shape } = tensors[0]!;
  const at = resolveAxis("stack", axis, [...shape, 1]);
  sameDType("stack", ...tensors);
  if (!tensors.every((one) => sameShape(one.shape, shape))) {
    const shapes = tensors.map((one) => formatShape(one.shape)).join(" and ");
    throw new TypeError(`stack: expected one shape but got ${shapes}`);
  }
  const longer = shape.toSpliced(at, 0, 1);
  return concat(tensors.map((one) => reshape(one, longer)), { axis: at });
}
