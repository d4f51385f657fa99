/**
 * Elementwise functions of one tensor of floats (`abs`, `sign`, `square` and `clamp` also of whole numbers,
 * which have no gradient). All keep shape and dtype, and throw a `TypeError` for other dtypes.
 *
 * @module
 */
import { binaryKernels } from "../../kernels/elementwise/binary.ts";
import { unaryKernels } from "../../kernels/elementwise/unary.ts";
import { isFloat } from "../device/dtype.ts";
import { record } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkFloat } from "./check.ts";
import { launchBroadcast, launchFlat } from "./elementwise.ts";
import { applyUnary } from "./unary_launch.ts";

/** Applies a function that is constant between its jumps: asking for its gradient is a mistake. */
function applyStep(name: "sign" | "floor" | "ceil" | "round", x: Tensor): Tensor {
  const y = launchFlat(unaryKernels[name], [x]);
  if (!isFloat(x.dtype)) return y;
  return record(name, [x], y, [], () => {
    throw new Error(`${name} has no gradient; stop it with detach() or noGrad()`);
  });
}

/** e to the power x. */
export function exp(x: Tensor): Tensor {
  checkFloat("exp", x);
  const y = launchFlat(unaryKernels.exp, [x]);
  return record("exp", [x], y, [y], (dOut, [y]) => [multiply(dOut, y)]);
}

/** The natural logarithm; -Infinity at 0, NaN below. */
export function log(x: Tensor): Tensor {
  checkFloat("log", x);
  return applyUnary("log", x, "input");
}

/** The square root; NaN below 0. */
export function sqrt(x: Tensor): Tensor {
  checkFloat("sqrt", x);
  return applyUnary("sqrt", x, "value");
}

/** 1 / sqrt(x). */
export function rsqrt(x: Tensor): Tensor {
  checkFloat("rsqrt", x);
  return applyUnary("rsqrt", x, "value");
}

/** The size without the sign. Its gradient at 0 is 0. */
export function abs(x: Tensor): Tensor {
  return applyUnary("abs", x, "input");
}

/** -1, 0 or 1 by the sign. It has no gradient. */
export function sign(x: Tensor): Tensor {
  return applyStep("sign", x);
}

/** x * x. */
export function square(x: Tensor): Tensor {
  return applyUnary("square", x, "input");
}

/** 1 / x. */
export function reciprocal(x: Tensor): Tensor {
  checkFloat("reciprocal", x);
  return applyUnary("reciprocal", x, "value");
}

/** The sine of x in radians. */
export function sin(x: Tensor): Tensor {
  checkFloat("sin", x);
  return applyUnary("sin", x, "input");
}

/** The cosine of x in radians. */
export function cos(x: Tensor): Tensor {
  checkFloat("cos", x);
  return applyUnary("cos", x, "input");
}

/** The next whole number below. It has no gradient. */
export function floor(x: Tensor): Tensor {
  checkFloat("floor", x);
  return applyStep("floor", x);
}

/** The next whole number above. It has no gradient. */
export function ceil(x: Tensor): Tensor {
  checkFloat("ceil", x);
  return applyStep("ceil", x);
}

/** The nearest whole number, the even one of two. It has no gradient. */
export function round(x: Tensor): Tensor {
  checkFloat("round", x);
  return applyStep("round", x);
}

/** x, but not below `min` nor above `max`; NaN stays. The gradient outside is 0. */
export function clamp(x: Tensor, min: number, max: number): Tensor {
  if (!(min <= max)) throw new RangeError(`clamp: expected min <= max but got ${min} and ${max}`);
  return applyUnary("clamp", x, "input", { min, max });
}

/** The product of two tensors of one shape, without a gradient. */
function multiply(a: Tensor, b: Tensor): Tensor {
  return launchBroadcast("mul", binaryKernels.mul, [a, b]);
}
