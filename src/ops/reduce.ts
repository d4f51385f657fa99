/**
 * Reductions along axes (sums, means, deviations, norms, maxima, minima, `any` and `all`), and cumulative sums.
 *
 * @module
 */
import { argReduceKernels } from "../../kernels/rows/arg_reduce.ts";
import { cumsum as cumsumKernel } from "../../kernels/rows/cumsum.ts";
import { isFloat } from "../device/dtype.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, resolveAxes, resolveAxis, type Shape, sizeOf } from "../tensor/shape.ts";
import { noGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat } from "./check.ts";
import {
  abs,
  add,
  cast,
  clamp,
  div,
  equal,
  exp,
  log,
  maskedFill,
  maximum,
  mul,
  notEqual,
  pow,
  sign,
  square,
  sub,
} from "./elementwise.ts";
import { alongAxis, expand, keptShape, reduce } from "./launch.ts";

/** Options of the reductions. */
export interface ReduceOptions {
  /** Whether to keep the reduced axes, with length 1. Default: false. */
  readonly keepdim?: boolean;
}

/**
 * Returns the sum along the axes (default: all; negative ones count from the back). f16 is summed in f32, and long sums
 * are computed in parts. An empty sum is 0. Throws a `RangeError` for axes that do not exist.
 *
 * @example
 * ```ts
 * import { CpuDevice, sum, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2, 3], [4, 5, 6]], { device });
 * using rows = sum(x, -1);
 * assert.deepEqual(await rows.toArray(), [6, 15]);
 * ```
 */
export function sum(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  const list = resolveAxes("sum", axes, x.shape);
  return record(
    "sum",
    [x],
    reduce("sum", x, list, options, 1),
    [],
    (dOut) => [expand(dOut.alias(keptShape(x.shape, list)), x.shape)],
  );
}

/** Returns the mean of floats along the axes (default: all); NaN if there are no elements. */
export function mean(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  checkFloat("mean", x);
  const list = resolveAxes("mean", axes, x.shape);
  const count = list.reduce((product, axis) => product * x.shape[axis]!, 1);
  // Infinite for no elements: times the empty sum of 0 that gives NaN, as it should.
  const scale = 1 / count;
  return record(
    "mean",
    [x],
    reduce("sum", x, list, options, scale),
    [],
    (dOut) => [expand(mul(dOut.alias(keptShape(x.shape, list)), scale), x.shape)],
  );
}

/** Options of {@linkcode variance} and {@linkcode std}. */
export interface VarianceOptions extends ReduceOptions {
  /** What is subtracted from the number of elements to give the divisor. Default: 1, as in PyTorch. */
  readonly correction?: number;
}

/**
 * Returns the variance along the axes (default: all): the sum of squared distances from the mean, divided by the number
 * of elements minus `correction` (default: 1, as in PyTorch); NaN where that is 0 or less. f16 is computed in f32.
 */
export function variance(x: Tensor, axes?: number | Shape, options?: VarianceOptions): Tensor {
  checkFloat("variance", x);
  const { correction = 1, keepdim = false } = options ?? {};
  const list = resolveAxes("variance", axes, x.shape);
  if (x.dtype === "f16") {
    return scoped(() => cast(variance(cast(x, "f32"), list, options), "f16"));
  }
  const count = list.reduce((product, axis) => product * x.shape[axis]!, 1);
  return scoped(() => {
    const squares = square(sub(x, mean(x, list, { keepdim: true })));
    return div(sum(squares, list, { keepdim }), Math.max(0, count - correction));
  });
}

/**
 * Returns the standard deviation along the axes (default: all), the square root of {@linkcode variance}. f16 is computed
 * in f32. Where it is 0, its gradient is 0, as in PyTorch.
 *
 * @example
 * ```ts
 * import { CpuDevice, std, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 3], [2, 8]], { device });
 * using y = std(x, -1, { correction: 0 });
 * assert.deepEqual(await y.toArray(), [1, 3]);
 * ```
 */
export function std(x: Tensor, axes?: number | Shape, options?: VarianceOptions): Tensor {
  checkFloat("std", x);
  const { correction = 1, keepdim = false } = options ?? {};
  const list = resolveAxes("std", axes, x.shape);
  if (x.dtype === "f16") return scoped(() => cast(std(cast(x, "f32"), list, options), "f16"));
  const count = list.reduce((product, axis) => product * x.shape[axis]!, 1);
  return scoped(() => {
    const centred = sub(x, mean(x, list, { keepdim: true }));
    return div(norm(centred, list, { keepdim }), Math.sqrt(Math.max(0, count - correction)));
  });
}

/** Options of {@linkcode norm}. */
export interface VectorNormOptions extends ReduceOptions {
  /** The order: 2 for the Euclidean norm, 1 for the sum of absolute values, Infinity for their maximum. Default: 2. */
  readonly p?: number;
}

/**
 * Returns the vector norm `(sum |x|^p)^(1/p)` of floats along the axes (default: all). f16 is computed in f32. Where
 * the norm is 0, its gradient is 0, as in PyTorch. Throws a `RangeError` unless p is above 0.
 *
 * @example
 * ```ts
 * import { CpuDevice, norm, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[3, -4], [0, 1]], { device });
 * using lengths = norm(x, -1);
 * assert.deepEqual(await lengths.toArray(), [5, 1]);
 * ```
 */
export function norm(x: Tensor, axes?: number | Shape, options?: VectorNormOptions): Tensor {
  checkFloat("norm", x);
  const { p = 2, keepdim = false } = options ?? {};
  if (!(p > 0)) throw new RangeError(`norm: expected p above 0 but got ${p}`);
  const list = resolveAxes("norm", axes, x.shape);
  if (x.dtype === "f16") {
    return scoped(() => cast(norm(cast(x, "f32"), list, options), "f16"));
  }
  if (p === 1) return scoped(() => sum(abs(x), list, { keepdim }));
  if (p === Infinity) return scoped(() => extreme("max", abs(x), list, { keepdim }, "norm"));
  const powers = () => p === 2 ? square(x) : pow(abs(x), p);
  const y = noGrad(() => scoped(() => pow(sum(powers(), list, { keepdim }), 1 / p)));
  return record("norm", [x], y, [x, y], (dOut, [x, y]) => {
    // d|x|_p / dx = sign(x) |x|^(p - 1) / |x|_p^(p - 1)
    const slope = p === 2 ? x : mul(sign(x), pow(abs(x), p - 1));
    const scale = maskedFill(div(dOut, p === 2 ? y : pow(y, p - 1)), equal(y, 0), 0);
    const dX = mul(slope, scale.alias(keptShape(x.shape, list)));
    return [p < 1 ? maskedFill(dX, equal(x, 0), 0) : dX];
  });
}

/** The largest finite number of f32. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/**
 * Returns `log(sum(exp(x)))` along the axes (default: all). The maximum is subtracted first, so large values do not
 * overflow. f16 is computed in f32. Where all elements are -Infinity, so is the result, and the gradient is 0. Throws a
 * `RangeError` if there are no elements.
 *
 * @example
 * ```ts
 * import { CpuDevice, logsumexp, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1000, 0], [-Infinity, 2]], { device });
 * using y = logsumexp(x, -1);
 * assert.deepEqual(await y.toArray(), [1000, 2]);
 * ```
 */
export function logsumexp(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  const op = "logsumexp";
  checkFloat(op, x);
  const list = resolveAxes(op, axes, x.shape);
  if (x.dtype === "f16") return scoped(() => cast(logsumexp(cast(x, "f32"), list, options), "f16"));
  const kept = keptShape(x.shape, list);
  const y = noGrad(() =>
    scoped(() => {
      const top = extreme("max", x, list, options, op);
      // Infinity - Infinity is NaN.
      const shift = clamp(top.alias(kept), -LARGEST, LARGEST);
      return add(log(sum(exp(sub(x, shift)), list, options)), top);
    })
  );
  return record(op, [x], y, [x, y], (dOut, [x, y]) => {
    const p = exp(sub(x, maximum(y.alias(kept), -LARGEST)));
    return [mul(p, dOut.alias(kept))];
  });
}

/**
 * Returns the cumulative sum along an axis, in the dtype of `x`. f16 is summed in f32; integers wrap around. Throws a
 * `RangeError` for an axis that does not exist.
 *
 * @example
 * ```ts
 * import { CpuDevice, cumsum, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2, 3], [4, 5, 6]], { device });
 * using y = cumsum(x, 1);
 * assert.deepEqual(await y.toArray(), [[1, 3, 6], [4, 9, 15]]);
 * ```
 */
export function cumsum(x: Tensor, axis: number): Tensor {
  x.checkInUse("cumsum");
  const at = resolveAxis("cumsum", axis, x.shape);
  const run = (x: Tensor, reverse: number): Tensor => {
    const y = Tensor.empty(x.device, x.shape, x.dtype);
    x.device.launch(cumsumKernel, { x, y }, { ...alongAxis(x.shape, at), reverse });
    return y;
  };
  const y = run(x, 0);
  return isFloat(x.dtype) ? record("cumsum", [x], y, [], (dOut) => [run(dOut, 1)]) : y;
}

/**
 * Returns the maximum along the axes (default: all), or NaN if there is a NaN. Equal maxima share the gradient. Throws
 * a `RangeError` if there are no elements.
 */
export function max(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  return extreme("max", x, axes, options);
}

/** Returns the minimum along the axes (default: all). Otherwise like {@linkcode max}. */
export function min(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  return extreme("min", x, axes, options);
}

/**
 * Returns 1 where an element along the axes (default: all) is not 0, else 0, as `u32`. NaN is not 0. Has no gradient.
 *
 * @example
 * ```ts
 * import { any, CpuDevice, isNaN, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, NaN], [3, 4]], { device });
 * using missing = isNaN(x);
 * using rows = any(missing, -1);
 * assert.deepEqual(await rows.toArray(), [1, 0]);
 * ```
 */
export function any(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  x.checkInUse("any");
  const list = resolveAxes("any", axes, x.shape);
  return scoped(() => notEqual(sum(notEqual(x, 0), list, options), 0));
}

/**
 * Returns 1 where no element along the axes (default: all) is 0, else 0, as `u32`; 1 if there are no elements. Has no
 * gradient.
 *
 * @example
 * ```ts
 * import { all, CpuDevice, less, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[1, 2], [3, 4]], { device });
 * using small = less(x, 4);
 * using rows = all(small, -1);
 * assert.deepEqual(await rows.toArray(), [1, 0]);
 * ```
 */
export function all(x: Tensor, axes?: number | Shape, options?: ReduceOptions): Tensor {
  x.checkInUse("all");
  const list = resolveAxes("all", axes, x.shape);
  return scoped(() => equal(sum(equal(x, 0), list, options), 0));
}

/**
 * Returns the index (`i32`) of the maximum along an axis, or in the flattened tensor if no axis is given. The first of
 * equal elements wins; NaN wins over all. Has no gradient. Throws a `RangeError` if there are no elements.
 */
export function argmax(x: Tensor, axis?: number, options?: ReduceOptions): Tensor {
  return argExtreme("argmax", x, axis, options);
}

/** Returns the index of the minimum. Otherwise like {@linkcode argmax}. */
export function argmin(x: Tensor, axis?: number, options?: ReduceOptions): Tensor {
  return argExtreme("argmin", x, axis, options);
}

function extreme(
  name: "max" | "min",
  x: Tensor,
  axes: number | Shape | undefined,
  options: ReduceOptions | undefined,
  op: string = name,
): Tensor {
  const list = resolveAxes(op, axes, x.shape);
  if (list.some((axis) => x.shape[axis] === 0)) {
    throw new RangeError(
      `${op}: expected at least one element but got shape ${formatShape(x.shape)} along the axes ` +
        formatShape(list),
    );
  }
  const y = reduce(name, x, list, options, 1);
  return record(name, [x], y, [x, y], (dOut, [x, y]) => {
    const kept = keptShape(x!.shape, list);
    // In f32, since f16 cannot count that far.
    const hits = cast(equal(x!, y!.alias(kept)), "f32");
    const share = div(cast(dOut, "f32").alias(kept), sum(hits, list, { keepdim: true }));
    return [cast(mul(hits, share), dOut.dtype)];
  });
}

function argExtreme(
  name: "argmax" | "argmin",
  x: Tensor,
  axis: number | undefined,
  { keepdim = false }: ReduceOptions = {},
): Tensor {
  x.checkInUse(name);
  const { shape } = x;
  const at = axis === undefined ? 0 : resolveAxis(name, axis, shape);
  const reduced = axis === undefined ? x.size : shape[at]!;
  if (reduced === 0) {
    throw new RangeError(
      `${name}: expected at least one element but got shape ${formatShape(shape)}`,
    );
  }
  const inner = axis === undefined ? 1 : sizeOf(shape.slice(at + 1));
  const ones = shape.map(() => 1);
  const kept = axis === undefined ? ones : keptShape(shape, [at]);
  const result = keepdim ? kept : axis === undefined ? [] : shape.toSpliced(at, 1);
  const y = Tensor.empty(x.device, result, "i32");
  x.device.launch(argReduceKernels[name], { x, y }, { count: y.size, reduced, inner });
  return y;
}
