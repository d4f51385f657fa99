/**
 * Elementwise operations. Operands broadcast by NumPy's rules: shapes are aligned at the last axis, and axes of length
 * 1 are stretched.
 *
 * @module
 */
import {
  binaryKernels,
  type BinaryName,
  binaryNumberKernels,
  ternaryKernels,
} from "../../kernels/elementwise/binary.ts";
import { unaryKernels } from "../../kernels/elementwise/unary.ts";
import { type DType, INTEGER_RANGES, isFloat } from "../device/dtype.ts";
import { arange, constant } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { record } from "../tensor/tape.ts";
import { formatShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDType } from "./check.ts";
import { applyUnary, launchBroadcast, launchFlat, numberScalars, sumTo } from "./launch.ts";

/** A tensor, or a number, which broadcasts. */
export type Operand = Tensor | number;

function withNumber(name: BinaryName, x: Tensor, number: number, swapped = false): Tensor {
  return launchFlat(
    binaryNumberKernels[name],
    [x],
    x.dtype,
    numberScalars(name, x, number, swapped),
  );
}

function together(name: BinaryName, a: Tensor, b: Tensor): Tensor {
  sameDType(name, a, b);
  return launchBroadcast(name, binaryKernels[name], [a, b]);
}

function twoNumbers(name: string): never {
  throw new TypeError(`${name}: expected a tensor but got two numbers`);
}

/**
 * Returns a + b, with broadcasting. One of them may be a number. Both have the same dtype, any one; integers wrap
 * around.
 *
 * Throws a `TypeError` if the shapes do not broadcast, or if dtypes or devices differ.
 *
 * @example
 * ```ts
 * import { add, CpuDevice, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2], [3, 4]], { device });
 * using row = tensor([10, 20], { device });
 * using y = add(x, row);
 * assert.deepEqual(await y.toArray(), [[11, 22], [13, 24]]);
 * ```
 */
export function add(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("add");
    return add(b, a);
  }
  if (typeof b === "number") {
    return record("add", [a], withNumber("add", a, b), [], (dOut) => [dOut]);
  }
  const shapes = [a.shape, b.shape];
  return record(
    "add",
    [a, b],
    together("add", a, b),
    [],
    (dOut, _, wanted) => shapes.map((shape, i) => wanted[i] ? sumTo(dOut, shape) : null),
  );
}

/** Returns a - b. Otherwise like {@linkcode add}. */
export function sub(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("sub");
    return record("sub", [b], withNumber("sub", b, a, true), [], (dOut) => [neg(dOut)]);
  }
  if (typeof b === "number") {
    return record("sub", [a], withNumber("sub", a, b), [], (dOut) => [dOut]);
  }
  const shapes = [a.shape, b.shape];
  return record("sub", [a, b], together("sub", a, b), [], (dOut, _, wanted) => [
    wanted[0] ? sumTo(dOut, shapes[0]!) : null,
    wanted[1] ? neg(sumTo(dOut, shapes[1]!)) : null,
  ]);
}

/** Returns a * b. Otherwise like {@linkcode add}. */
export function mul(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("mul");
    return mul(b, a);
  }
  if (typeof b === "number") {
    return record("mul", [a], withNumber("mul", a, b), [], (dOut) => [mul(dOut, b)]);
  }
  return record("mul", [a, b], together("mul", a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0] ? sumTo(mul(dOut, b!), a!.shape) : null,
    wanted[1] ? sumTo(mul(dOut, a!), b!.shape) : null,
  ]);
}

/**
 * Returns a / b. Integers are truncated towards zero; division by zero leaves them unchanged. Otherwise like
 * {@linkcode add}.
 */
export function div(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("div");
    const y = withNumber("div", b, a, true);
    return record("div", [b], y, [b, y], (dOut, [b, y]) => [neg(div(mul(dOut, y!), b!))]);
  }
  if (typeof b === "number") {
    return record("div", [a], withNumber("div", a, b), [], (dOut) => [div(dOut, b)]);
  }
  return record("div", [a, b], together("div", a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0] ? sumTo(div(dOut, b!), a!.shape) : null,
    wanted[1]
      ? sumTo(launchBroadcast("div", ternaryKernels.divBackward, [dOut, a!, b!]), b!.shape)
      : null,
  ]);
}

/**
 * Returns a to the power of b, for floats. A negative base gives NaN unless b is an integer. Otherwise like
 * {@linkcode add}.
 */
export function pow(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("pow");
    checkFloat("pow", b);
    const y = withNumber("pow", b, a, true);
    return record("pow", [b], y, [y], (dOut, [y]) => [mul(mul(dOut, y!), Math.log(a))]);
  }
  checkFloat("pow", a);
  if (typeof b === "number") {
    if (b === 2) return square(a);
    if (b === 0.5) return sqrt(a);
    const y = withNumber("pow", a, b);
    return record("pow", [a], y, [a], (dOut, [a]) => [
      b === 0 ? mul(dOut, 0) : mul(mul(dOut, b), withNumber("pow", a!, b - 1)),
    ]);
  }
  return record("pow", [a, b], together("pow", a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0]
      ? sumTo(launchBroadcast("pow", ternaryKernels.powBackward, [dOut, a!, b!]), a!.shape)
      : null,
    wanted[1]
      ? sumTo(launchBroadcast("pow", ternaryKernels.powExponentBackward, [dOut, a!, b!]), b!.shape)
      : null,
  ]);
}

function pick(name: "maximum" | "minimum", a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers(name);
    return pick(name, b, a);
  }
  const backward = ternaryKernels[`${name}Backward`];
  if (typeof b === "number") {
    const y = withNumber(name, a, b);
    // The result equals the operand that was picked.
    return record(name, [a], y, [a, y], (dOut, [a, y]) => [
      launchBroadcast(name, ternaryKernels.where, [
        launchBroadcast(name, binaryKernels.equal, [a!, y!], "u32"),
        dOut,
        mul(dOut, 0),
      ], dOut.dtype),
    ]);
  }
  return record(name, [a, b], together(name, a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0] ? sumTo(launchBroadcast(name, backward, [dOut, a!, b!]), a!.shape) : null,
    wanted[1] ? sumTo(launchBroadcast(name, backward, [dOut, b!, a!]), b!.shape) : null,
  ]);
}

/**
 * Returns the larger of a and b, or NaN if either is NaN. Equal values share the gradient. Otherwise like
 * {@linkcode add}.
 */
export function maximum(a: Operand, b: Operand): Tensor {
  return pick("maximum", a, b);
}

/**
 * Returns the smaller of a and b, or NaN if either is NaN. Equal values share the gradient. Otherwise like
 * {@linkcode add}.
 */
export function minimum(a: Operand, b: Operand): Tensor {
  return pick("minimum", a, b);
}

/** Returns -x. Throws a `TypeError` for `u32`. */
export function neg(x: Tensor): Tensor {
  if (x.dtype === "u32") throw new TypeError(`neg: expected numbers with a sign but got ${x}`);
  const y = launchFlat(unaryKernels.neg, [x]);
  return isFloat(x.dtype) ? record("neg", [x], y, [], (dOut) => [neg(dOut)]) : y;
}

/** Applies a piecewise constant function. Asking for its gradient is an error. */
function applyStep(name: "sign" | "floor" | "ceil" | "round", x: Tensor): Tensor {
  const y = launchFlat(unaryKernels[name], [x]);
  if (!isFloat(x.dtype)) return y;
  return record(name, [x], y, [], () => {
    throw new Error(
      `${name}: expected an operand without a gradient but got one that requires it; use detach() or noGrad()`,
    );
  });
}

/** Returns e to the power of x. */
export function exp(x: Tensor): Tensor {
  checkFloat("exp", x);
  const y = launchFlat(unaryKernels.exp, [x]);
  return record("exp", [x], y, [y], (dOut, [y]) => [multiply(dOut, y!)]);
}

/** Returns the natural logarithm: -Infinity at 0, NaN below. */
export function log(x: Tensor): Tensor {
  checkFloat("log", x);
  return applyUnary("log", x, "input");
}

/** Returns the square root; NaN below 0. */
export function sqrt(x: Tensor): Tensor {
  checkFloat("sqrt", x);
  return applyUnary("sqrt", x, "value");
}

/** Returns 1 / sqrt(x). */
export function rsqrt(x: Tensor): Tensor {
  checkFloat("rsqrt", x);
  return applyUnary("rsqrt", x, "value");
}

/** Returns the absolute value. The gradient at 0 is 0. */
export function abs(x: Tensor): Tensor {
  return applyUnary("abs", x, "input");
}

/** Returns -1, 0 or 1, the sign of x. Has no gradient. */
export function sign(x: Tensor): Tensor {
  return applyStep("sign", x);
}

/** Returns x * x. */
export function square(x: Tensor): Tensor {
  return applyUnary("square", x, "input");
}

/** Returns 1 / x. */
export function reciprocal(x: Tensor): Tensor {
  checkFloat("reciprocal", x);
  return applyUnary("reciprocal", x, "value");
}

/** Returns the sine of x, in radians. */
export function sin(x: Tensor): Tensor {
  checkFloat("sin", x);
  return applyUnary("sin", x, "input");
}

/** Returns the cosine of x, in radians. */
export function cos(x: Tensor): Tensor {
  checkFloat("cos", x);
  return applyUnary("cos", x, "input");
}

/** Rounds down to an integer. Has no gradient. */
export function floor(x: Tensor): Tensor {
  checkFloat("floor", x);
  return applyStep("floor", x);
}

/** Rounds up to an integer. Has no gradient. */
export function ceil(x: Tensor): Tensor {
  checkFloat("ceil", x);
  return applyStep("ceil", x);
}

/** Rounds to the nearest integer, ties to even. Has no gradient. */
export function round(x: Tensor): Tensor {
  checkFloat("round", x);
  return applyStep("round", x);
}

/**
 * Limits x to between `min` and `max`, either of which may be infinite. NaN is kept. The gradient is 0 outside the
 * limits. Throws a `RangeError` unless `min <= max`, and a `TypeError` for limits that an integer tensor cannot hold.
 */
export function clamp(x: Tensor, min: number, max: number): Tensor {
  if (!(min <= max)) throw new RangeError(`clamp: expected min <= max but got ${min} and ${max}`);
  if (isFloat(x.dtype)) return applyUnary("clamp", x, "input", { min, max });
  const [lowest, highest] = INTEGER_RANGES[x.dtype]!;
  const limit = (name: "maximum" | "minimum", x: Tensor, to: number) =>
    launchFlat(binaryNumberKernels[name], [x], x.dtype, numberScalars("clamp", x, to, false));
  return scoped(() =>
    limit("minimum", limit("maximum", x, Math.max(min, lowest)), Math.min(max, highest))
  );
}

/** The product of two tensors of the same shape, without a gradient. */
function multiply(a: Tensor, b: Tensor): Tensor {
  return launchBroadcast("mul", binaryKernels.mul, [a, b]);
}

function compare(name: BinaryName, a: Operand, b: Operand): Tensor {
  if (typeof b === "number") {
    if (typeof a === "number") {
      throw new TypeError(`${name}: expected a tensor but got two numbers`);
    }
    return launchFlat(binaryNumberKernels[name], [a], "u32", numberScalars(name, a, b, false));
  }
  if (typeof a === "number") {
    return launchFlat(binaryNumberKernels[name], [b], "u32", numberScalars(name, b, a, true));
  }
  sameDType(name, a, b);
  return launchBroadcast(name, binaryKernels[name], [a, b], "u32");
}

/**
 * Returns 1 where a == b, else 0, with broadcasting. One of them may be a number. Throws a `TypeError` if shapes or
 * dtypes do not match.
 */
export function equal(a: Operand, b: Operand): Tensor {
  return compare("equal", a, b);
}

/** Returns 1 where a != b, else 0. Otherwise like {@linkcode equal}. */
export function notEqual(a: Operand, b: Operand): Tensor {
  return compare("notEqual", a, b);
}

/** Returns 1 where a < b, else 0. Otherwise like {@linkcode equal}. */
export function less(a: Operand, b: Operand): Tensor {
  return compare("less", a, b);
}

/** Returns 1 where a <= b, else 0. Otherwise like {@linkcode equal}. */
export function lessEqual(a: Operand, b: Operand): Tensor {
  return compare("lessEqual", a, b);
}

/** Returns 1 where a > b, else 0. Otherwise like {@linkcode equal}. */
export function greater(a: Operand, b: Operand): Tensor {
  return compare("greater", a, b);
}

/** Returns 1 where a >= b, else 0. Otherwise like {@linkcode equal}. */
export function greaterEqual(a: Operand, b: Operand): Tensor {
  return compare("greaterEqual", a, b);
}

/** Returns 1 where both are nonzero, else 0. Otherwise like {@linkcode equal}. */
export function logicalAnd(a: Operand, b: Operand): Tensor {
  return compare("logicalAnd", a, b);
}

/** Returns 1 where at least one is nonzero, else 0. Otherwise like {@linkcode equal}. */
export function logicalOr(a: Operand, b: Operand): Tensor {
  return compare("logicalOr", a, b);
}

/** Returns 1 where x is 0, else 0. */
export function logicalNot(x: Tensor): Tensor {
  return launchFlat(unaryKernels.logicalNot, [x], "u32");
}

/**
 * Returns 1 where x is NaN, else 0, as `u32`. Always 0 for integers.
 *
 * @example Zeros in place of NaN
 * ```ts
 * import { CpuDevice, isNaN, maskedFill, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, NaN, 3], { device });
 * using mask = isNaN(x);
 * using y = maskedFill(x, mask, 0);
 * assert.deepEqual(await y.toArray(), [1, 0, 3]);
 * ```
 */
export function isNaN(x: Tensor): Tensor {
  return launchFlat(unaryKernels.isNaN, [x], "u32");
}

/**
 * Returns `a` where `condition` is nonzero, else `b`, with broadcasting. The condition may have any dtype and has no
 * gradient. Throws a `TypeError` if the shapes do not broadcast or the dtypes of `a` and `b` differ.
 */
export function where(condition: Tensor, a: Tensor, b: Tensor): Tensor {
  return choose("where", condition, a, b);
}

function choose(op: string, condition: Tensor, a: Tensor, b: Tensor): Tensor {
  sameDType(op, a, b);
  const y = launchBroadcast(op, ternaryKernels.where, [condition, a, b], a.dtype);
  if (!isFloat(a.dtype)) return y;
  return record(op, [a, b], y, [condition], (dOut, [condition], wanted) => {
    const shapes = [a.shape, b.shape];
    const zero = constant(dOut.device, [], 0, dOut.dtype);
    const pick = (...parts: [Tensor, Tensor]): Tensor =>
      launchBroadcast(op, ternaryKernels.where, [condition!, ...parts], dOut.dtype);
    return [
      wanted[0] ? sumTo(pick(dOut, zero), shapes[0]!) : null,
      wanted[1] ? sumTo(pick(zero, dOut), shapes[1]!) : null,
    ];
  });
}

/**
 * Returns `x` with `value` where `mask` is nonzero. The mask broadcasts to the shape of `x`. Otherwise like
 * {@linkcode where}.
 */
export function maskedFill(x: Tensor, mask: Tensor, value: number): Tensor {
  return scoped(() => choose("maskedFill", mask, constant(x.device, [], value, x.dtype), x));
}

/**
 * Returns the lower triangle of the last two axes of `x` (..., rows, columns): element (i, j) is kept where
 * `j <= i + diagonal`, the others are 0. Throws a `TypeError` if there are fewer than two axes.
 *
 * @example A causal mask
 * ```ts
 * import { CpuDevice, ones, tril } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using all = ones([3, 3], { device, dtype: "u32" });
 * using mask = tril(all);
 * assert.deepEqual(await mask.toArray(), [[1, 0, 0], [1, 1, 0], [1, 1, 1]]);
 * ```
 */
export function tril(x: Tensor, diagonal?: number): Tensor {
  return triangle("tril", x, diagonal ?? 0, lessEqual);
}

/** Returns the upper triangle: element (i, j) is kept where `j >= i + diagonal`. Otherwise like {@linkcode tril}. */
export function triu(x: Tensor, diagonal?: number): Tensor {
  return triangle("triu", x, diagonal ?? 0, greaterEqual);
}

function triangle(
  name: string,
  x: Tensor,
  diagonal: number,
  inside: (column: Tensor, row: Tensor) => Tensor,
): Tensor {
  if (x.shape.length < 2 || !Number.isInteger(diagonal)) {
    throw new TypeError(
      `${name}: expected two axes or more and an integer diagonal but got shape ` +
        `${formatShape(x.shape)} and ${diagonal}`,
    );
  }
  const { device } = x;
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  return scoped(() => {
    const row = arange(rows, { device, start: diagonal }).alias([rows, 1]);
    const mask = inside(arange(columns, { device }), row);
    return where(mask, x, constant(device, [], 0, x.dtype));
  });
}

/**
 * Returns `x` converted to `dtype`; `x` itself if it already has that dtype. Floats are truncated towards zero to
 * become integers. Gradients flow between `f32` and `f16`; integers have none.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const y = launchFlat(unaryKernels.cast, [x], dtype);
  if (!isFloat(dtype) || !isFloat(x.dtype)) return y;
  const from = x.dtype;
  return record("cast", [x], y, [], (dOut) => [cast(dOut, from)]);
}
