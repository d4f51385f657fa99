/**
 * Arithmetic with broadcasting: shapes are aligned at the last axis, and axes of length 1 are stretched.
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
import { isFloat } from "../device/dtype.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDType } from "./check.ts";
import { launchBroadcast, launchFlat, numberScalars } from "./elementwise.ts";
import { sqrt, square } from "./math.ts";
import { sumTo } from "./reduce_launch.ts";

/** A tensor, or a number that stands for a tensor full of it. */
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
 * a + b, stretched to one shape; one of them may be a number. Any dtype, the same for both; whole numbers
 * wrap around.
 *
 * Throws a `TypeError` with both shapes when they do not broadcast, or when dtypes or devices differ.
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

/** a - b; otherwise as {@linkcode add}. */
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
    wanted[0] ? sumTo(dOut, shapes[0]) : null,
    wanted[1] ? neg(sumTo(dOut, shapes[1])) : null,
  ]);
}

/** a * b; otherwise as {@linkcode add}. */
export function mul(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("mul");
    return mul(b, a);
  }
  if (typeof b === "number") {
    return record("mul", [a], withNumber("mul", a, b), [], (dOut) => [mul(dOut, b)]);
  }
  return record("mul", [a, b], together("mul", a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0] ? sumTo(mul(dOut, b), a.shape) : null,
    wanted[1] ? sumTo(mul(dOut, a), b.shape) : null,
  ]);
}

/** a / b; otherwise as {@linkcode add}. Whole numbers are cut towards zero; by zero they stay as they are. */
export function div(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("div");
    const y = withNumber("div", b, a, true);
    return record("div", [b], y, [b, y], (dOut, [b, y]) => [neg(div(mul(dOut, y), b))]);
  }
  if (typeof b === "number") {
    return record("div", [a], withNumber("div", a, b), [], (dOut) => [div(dOut, b)]);
  }
  return record("div", [a, b], together("div", a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0] ? sumTo(div(dOut, b), a.shape) : null,
    wanted[1]
      ? sumTo(launchBroadcast("div", ternaryKernels.divBackward, [dOut, a, b]), b.shape)
      : null,
  ]);
}

/**
 * a to the power b, of floats; otherwise as {@linkcode add}. A negative base has a power where b is a whole
 * number, else NaN.
 */
export function pow(a: Operand, b: Operand): Tensor {
  if (typeof a === "number") {
    if (typeof b === "number") return twoNumbers("pow");
    checkFloat("pow", b);
    const y = withNumber("pow", b, a, true);
    return record("pow", [b], y, [y], (dOut, [y]) => [mul(mul(dOut, y), Math.log(a))]);
  }
  checkFloat("pow", a);
  if (typeof b === "number") {
    if (b === 2) return square(a);
    if (b === 0.5) return sqrt(a);
    const y = withNumber("pow", a, b);
    return record("pow", [a], y, [a], (dOut, [a]) => [
      b === 0 ? mul(dOut, 0) : mul(mul(dOut, b), withNumber("pow", a, b - 1)),
    ]);
  }
  return record("pow", [a, b], together("pow", a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0]
      ? sumTo(launchBroadcast("pow", ternaryKernels.powBackward, [dOut, a, b]), a.shape)
      : null,
    wanted[1]
      ? sumTo(launchBroadcast("pow", ternaryKernels.powExponentBackward, [dOut, a, b]), b.shape)
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
    // The value is the operand's own where it was picked.
    return record(name, [a], y, [a, y], (dOut, [a, y]) => [
      launchBroadcast(name, ternaryKernels.where, [
        launchBroadcast(name, binaryKernels.equal, [a, y], "u32"),
        dOut,
        mul(dOut, 0),
      ], dOut.dtype),
    ]);
  }
  return record(name, [a, b], together(name, a, b), [a, b], (dOut, [a, b], wanted) => [
    wanted[0] ? sumTo(launchBroadcast(name, backward, [dOut, a, b]), a.shape) : null,
    wanted[1] ? sumTo(launchBroadcast(name, backward, [dOut, b, a]), b.shape) : null,
  ]);
}

/** The larger of a and b, NaN where one is; otherwise as {@linkcode add}. Equals share the gradient. */
export function maximum(a: Operand, b: Operand): Tensor {
  return pick("maximum", a, b);
}

/** The smaller of a and b, NaN where one is; otherwise as {@linkcode add}. Equals share the gradient. */
export function minimum(a: Operand, b: Operand): Tensor {
  return pick("minimum", a, b);
}

/** -x. Throws a `TypeError` for `u32`. */
export function neg(x: Tensor): Tensor {
  if (x.dtype === "u32") throw new TypeError(`neg: expected numbers with a sign but got ${x}`);
  const y = launchFlat(unaryKernels.neg, [x]);
  return isFloat(x.dtype) ? record("neg", [x], y, [], (dOut) => [neg(dOut)]) : y;
}
