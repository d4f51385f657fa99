/**
 * Arithmetic on shapes: sizes, strides, axes, broadcasting.
 *
 * @module
 */

/** The lengths of a tensor's axes, the outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** The number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((size, length) => size * length, 1);
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  for (let axis = shape.length - 1, stride = 1; axis >= 0; stride *= shape[axis--]!) {
    strides[axis] = stride;
  }
  return strides;
}

/** The shape as written in messages: `[2, 3]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** True when the shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

/** An axis counted from the front; a negative one counts from the back. Throws a `RangeError` if it does not exist. */
export function resolveAxis(op: string, axis: number, shape: Shape): number {
  const resolved = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= shape.length) {
    throw new RangeError(`${op}: expected an axis of shape ${formatShape(shape)} but got ${axis}`);
  }
  return resolved;
}

/** Several axes, each counted from the front, in ascending order; all of them when none are given. */
export function resolveAxes(op: string, axes: number | Shape | undefined, shape: Shape): number[] {
  if (axes === undefined) return shape.map((_, axis) => axis);
  const list = typeof axes === "number" ? [axes] : [...axes];
  const resolved = list.map((axis) => resolveAxis(op, axis, shape)).sort((a, b) => a - b);
  if (new Set(resolved).size !== resolved.length) {
    throw new RangeError(`${op}: expected different axes but got ${formatShape(list)}`);
  }
  return resolved;
}

/**
 * The shape that both shapes broadcast to, by NumPy's rules: aligned at the last axis, with lengths equal or one of
 * them 1. Throws a `TypeError` with both shapes if there is none.
 */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  const shape = new Array<number>(rank);
  for (let axis = 0; axis < rank; axis++) {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new TypeError(
        `${op}: expected shapes that broadcast but got ${formatShape(a)} and ${formatShape(b)}`,
      );
    }
    shape[axis] = x === 1 ? y : x;
  }
  return shape;
}

/** Strides that read `shape` as `target`, 0 along the stretched axes. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const own = stridesOf(shape);
  return target.map((length, axis) => {
    const at = axis - target.length + shape.length;
    return at < 0 || (shape[at] === 1 && length !== 1) ? 0 : own[at]!;
  });
}

function isSound(shape: Shape): boolean {
  for (let axis = 0; axis < shape.length; axis++) {
    if (!(Number.isInteger(shape[axis]) && shape[axis]! >= 0)) return false;
  }
  return true;
}

/**
 * Checks that lengths are non-negative integers. One length may be -1 and is inferred from `size`. Returns the shape.
 */
export function checkShape(op: string, shape: Shape, size?: number): Shape {
  if (isSound(shape) && (size === undefined || sizeOf(shape) === size)) return shape;
  const wrong = shape.find((length) =>
    !Number.isInteger(length) || length < (size === undefined ? 0 : -1)
  );
  const open = shape.filter((length) => length === -1).length;
  if (wrong !== undefined || open > 1) {
    throw new RangeError(
      `${op}: expected integer lengths of 0 or more${
        size === undefined ? "" : ", or one -1,"
      } but got ${formatShape(shape)}`,
    );
  }
  const known = shape.reduce((product, length) => length === -1 ? product : product * length, 1);
  const resolved = shape.map((length) => length === -1 ? (known ? size! / known : 0) : length);
  if (sizeOf(resolved) !== size || resolved.some((length) => !Number.isInteger(length))) {
    throw new TypeError(
      `${op}: expected a shape of ${size} elements but got ${formatShape(shape)}`,
    );
  }
  return resolved;
}
