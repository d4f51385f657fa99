/**
 * Comparisons and logic: results are `u32`, 1 for true and 0 for false, and have no gradient.
 *
 * @module
 */
import {
  binaryKernels,
  type BinaryName,
  binaryNumberKernels,
} from "../../kernels/elementwise/binary.ts";
import { unaryKernels } from "../../kernels/elementwise/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { sameDType } from "./check.ts";
import { launchBroadcast, launchFlat, numberScalars } from "./elementwise.ts";

function compare(name: BinaryName, a: Tensor | number, b: Tensor | number): Tensor {
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

/** a == b, stretched to one shape; one of them may be a number. Throws a `TypeError` for shapes or dtypes that do not fit. */
export function equal(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("equal", a, b);
}

/** a != b; otherwise as {@linkcode equal}. */
export function notEqual(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("notEqual", a, b);
}

/** a < b; otherwise as {@linkcode equal}. */
export function less(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("less", a, b);
}

/** a <= b; otherwise as {@linkcode equal}. */
export function lessEqual(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("lessEqual", a, b);
}

/** a > b; otherwise as {@linkcode equal}. */
export function greater(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("greater", a, b);
}

/** a >= b; otherwise as {@linkcode equal}. */
export function greaterEqual(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("greaterEqual", a, b);
}

/** 1 where both are not 0; otherwise as {@linkcode equal}. */
export function logicalAnd(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("logicalAnd", a, b);
}

/** 1 where one or both are not 0; otherwise as {@linkcode equal}. */
export function logicalOr(a: Tensor | number, b: Tensor | number): Tensor {
  return compare("logicalOr", a, b);
}

/** 1 where `x` is 0, else 0. */
export function logicalNot(x: Tensor): Tensor {
  return launchFlat(unaryKernels.logicalNot, [x], "u32");
}
