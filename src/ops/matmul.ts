/**
 * Matrix products and affine maps. Products whose operands are too long for the device to bind are split.
 *
 * @module
 */
import { matmul as matmulKernel, tooLongAxis } from "../../kernels/gemm/matmul.ts";
import {
  type MatmulParams,
  matmulParams,
  type PartialMatmulParams,
} from "../../kernels/gemm/params.ts";
import { quantisedMatmuls } from "../../kernels/gemm/quantised_matmul.ts";
import type { Binding } from "../device/device.ts";
import { BYTES, isQuantised } from "../device/dtype.ts";
import { DeviceError } from "../device/errors.ts";
import {
  broadcastShapes,
  broadcastStrides,
  formatShape,
  sameShape,
  type Shape,
  sizeOf,
} from "../tensor/shape.ts";
import { runInContext, taskContext } from "../tensor/async_context.ts";
import { type GradPlace, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkMultiplied, sameDevice, sameDType } from "./check.ts";
import { cast } from "./elementwise.ts";
import { part, placeFor, planesOf, sumColumns, sumTo } from "./launch.ts";
import { reshape } from "./shape.ts";

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** Whether to swap the last two axes of `a`. Default: false. */
  readonly transposeA?: boolean;
  /** Whether to swap the last two axes of `b`. Default: false. */
  readonly transposeB?: boolean;
}

/**
 * Returns the matrix product `op(a) op(b)`: (..., M, K) times (..., K, N) gives (..., M, N). The axes before the last
 * two broadcast. A transposed operand is stored as (..., K, M) or (..., N, K). A tensor with one axis is a row on the
 * left and a column on the right, and that axis is dropped from the result.
 *
 * `b` may be quantised (`q8_0`, `q4_0`); no gradient flows into it then. It may be of `f16` where `a` is of `f32`, as
 * weights that take half the memory.
 *
 * Throws a `TypeError` if the inner lengths, dtypes or devices differ.
 *
 * @example A product
 * ```ts
 * import { CpuDevice, matmul, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using a = tensor([[1, 2], [3, 4]], { device });
 * using y = matmul(a, a, { transposeB: true });
 * assert.deepEqual(await y.toArray(), [[5, 11], [11, 25]]);
 * ```
 */
export function matmul(a: Tensor, b: Tensor, options?: MatmulOptions): Tensor {
  const { transposeA = false, transposeB = false } = options ?? {};
  sameDevice("matmul", a, b);
  checkMultiplied("matmul", a, b);
  if (a.shape.length === 0 || b.shape.length === 0) {
    throw new TypeError(`matmul: expected at least one axis but got ${shapes(a, b, false, false)}`);
  }
  if (a.shape.length === 1) {
    const y = matmul(reshape(a, [1, a.size]), b, { transposeB });
    return reshape(y, [...y.shape.slice(0, -2), ...y.shape.slice(-1)]);
  }
  if (b.shape.length === 1) {
    const y = matmul(a, reshape(b, [b.size, 1]), { transposeA });
    return reshape(y, y.shape.slice(0, -1));
  }
  if (b.shape.length === 2 && a.shape.length > 2 && !transposeA) {
    // All products of the batch share the matrix `b`: the batch's rows become the rows of one large product.
    const rows = sizeOf(a.shape.slice(0, -1));
    const y = product(reshape(a, [rows, a.shape.at(-1)!]), b, false, transposeB);
    return reshape(y, [...a.shape.slice(0, -1), y.shape[1]!]);
  }
  return product(a, b, transposeA, transposeB);
}

/** The product of operands with two or more axes each. */
function product(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  const [m, k] = matrix(a, transposeA);
  const [inner, n] = matrix(b, transposeB);
  if (k !== inner) {
    throw new TypeError(
      `matmul: expected equal inner lengths but got ${k} and ${inner} in ${
        shapes(a, b, transposeA, transposeB)
      }`,
    );
  }
  const batch = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  const y = Tensor.empty(a.device, [...batch, m, n], a.dtype);
  launchMatmul(
    { a, b, c: y },
    { m, n, k, transposeA: Number(transposeA), transposeB: Number(transposeB) },
    { shape: batch, a: a.shape, b: b.shape },
  );
  return record("matmul", [a, b], y, [a, b], (dOut, [a, b], [wantA, wantB]) => [
    wantA
      ? sumTo(
        transposeA ? product(b!, dOut, transposeB, true) : product(dOut, b!, false, !transposeB),
        a!.shape,
      )
      : null,
    wantB
      ? cast(
        sumTo(
          transposeB ? product(dOut, a!, true, transposeA) : product(a!, dOut, !transposeA, false),
          b!.shape,
        ),
        b!.dtype,
      )
      : null,
  ]);
}

/** Rows and columns of an operand after transposition. */
function matrix(x: Tensor, transposed: boolean): [number, number] {
  const [rows, columns] = x.shape.slice(-2);
  return transposed ? [columns!, rows!] : [rows!, columns!];
}

function shapes(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): string {
  const one = (x: Tensor, transposed: boolean) =>
    formatShape(x.shape) + (transposed ? " transposed" : "");
  return `${one(a, transposeA)} times ${one(b, transposeB)}`;
}

/** Options of {@linkcode linear}. */
export interface LinearCall {
  /** (..., outputs), added to the result. */
  readonly residual?: Tensor | undefined;
}

/**
 * Returns `x weight^T + bias`, plus `residual` if given, in one kernel: x (..., inputs), weight (outputs, inputs) and
 * bias (outputs) give (..., outputs). The weight may be quantised; no gradient flows into it then. It may be `f16`
 * while x is `f32`. Throws a `TypeError` if the shapes do not match.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  options?: LinearCall,
): Tensor {
  const { residual } = options ?? {};
  const device = sameDevice("linear", x, weight, bias, residual);
  checkMultiplied("linear", x, weight);
  sameDType("linear", x, residual);
  if (bias) checkFloat("linear", bias);
  const k = x.shape.at(-1);
  const [n, inputs] = weight.shape as [number, number];
  if (weight.shape.length !== 2 || k !== inputs) {
    throw new TypeError(
      `linear: expected x (..., inputs) and weight (outputs, inputs) but got ` +
        `${formatShape(x.shape)} and ${formatShape(weight.shape)}`,
    );
  }
  const shape = [...x.shape.slice(0, -1), n];
  if (bias && !sameShape(bias.shape, [n])) {
    throw new TypeError(
      `linear: expected a bias of shape [${n}] but got ${formatShape(bias.shape)}`,
    );
  }
  if (residual && !sameShape(residual.shape, shape)) {
    throw new TypeError(
      `linear: expected a residual of shape ${formatShape(shape)} but got ${
        formatShape(residual.shape)
      }`,
    );
  }
  const m = sizeOf(x.shape.slice(0, -1));
  const y = Tensor.empty(device, shape, x.dtype);
  launchMatmul({ a: x, b: weight, c: y, bias, residual }, { m, n, k, transposeB: 1 });
  const inputsOf = [x, weight, ...bias ? [bias] : [], ...residual ? [residual] : []];
  return record("linear", inputsOf, y, [x, weight], (dOut, [x, weight], wanted, places) => {
    const residualAt = residual ? inputsOf.length - 1 : -1;
    const grads = inputsOf.map((input, i) =>
      wanted[i] && i !== residualAt ? placeFor(input, places[i]) : undefined
    );
    const [dX, dWeight, dBias] = grads;
    launchLinearBackward(dOut, x, weight, { x: dX, weight: dWeight, bias: bias && dBias });
    return inputsOf.map((_, i) => i === residualAt ? dOut : grads[i]?.y ?? null);
  });
}

/**
 * Runs `body` with batch-invariant products: each row of `x weight^T` ({@linkcode linear}, and {@linkcode matmul} with
 * `transposeB`) is the same to the last bit, however many other rows there are. A server needs this so that an answer
 * does not depend on which requests share its batch. Other rowwise operations are batch-invariant anyway. Slower for
 * many rows: BLAS and matrix units are not used. (Horace He et al. 2025, "Defeating Nondeterminism in LLM Inference".)
 *
 * @example
 * ```ts
 * import { batchInvariant, CpuDevice, linear, randn, slice } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const x = randn([9, 50], { device });
 * const weight = randn([20, 50], { device });
 * const all = batchInvariant(() => linear(x, weight));
 * const alone = batchInvariant(() => linear(slice(x, [[8, 9]]), weight));
 * assert.deepEqual(await slice(all, [[8, 9]]).toArray(), await alone.toArray());
 * ```
 */
export function batchInvariant<R>(body: () => R): R {
  return runInContext("batchInvariant", { ...taskContext(), batchInvariant: true }, body);
}

/** Launches those gradients of an affine map whose places are given, from the gradient of its output. */
export function launchLinearBackward(
  dOut: Binding,
  x: Tensor,
  weight: Tensor,
  grads: Readonly<Partial<Record<"x" | "weight" | "bias", GradPlace | undefined>>>,
): void {
  const [n, k] = weight.shape as [number, number];
  const m = sizeOf(x.shape.slice(0, -1));
  if (grads.x) {
    const { y: c, accumulate } = grads.x;
    launchMatmul({ a: dOut, b: weight, c }, { m, n: k, k: n, beta: Number(accumulate) });
  }
  const { weight: ofWeight, bias: ofBias } = grads;
  // The product for the weight reads dOut anyway, and can add up its columns on the way.
  const together = k > 0 && ofWeight?.accumulate === ofBias?.accumulate &&
    n * k * BYTES[weight.dtype] <= weight.device.maxBindingBytes;
  if (ofWeight) {
    const { y: c, accumulate } = ofWeight;
    launchMatmul(
      { a: dOut, b: x, c, rowSums: together ? ofBias?.y : undefined },
      { m: n, n: k, k: m, transposeA: 1, beta: Number(accumulate) },
    );
  }
  if (!together) sumColumns({ dOut }, { dBias: ofBias });
}

/** The operands of {@linkcode launchMatmul}. */
export interface Operands {
  /** (m, k), or (k, m) with `transposeA`. */
  readonly a: Binding;
  /** (k, n), or (n, k) with `transposeB`; may be quantised, or f16 where `a` is f32. */
  readonly b: Binding;
  /** (m, n) */
  readonly c: Binding;
  /** (n), added to every row. */
  readonly bias?: Binding | undefined;
  /** Like `c`; see the kernel. */
  readonly pre?: Binding | undefined;
  /** Like `c`, added to the product. */
  readonly residual?: Binding | undefined;
  /** (m), receives the row sums of op(a). Only for a single product with `transposeA` whose c can be bound. */
  readonly rowSums?: Binding | undefined;
}

/** The axes before the matrices: the shape of the whole batch and the full shapes of `a` and `b`. */
interface Batch {
  readonly shape: Shape;
  readonly a: Shape;
  readonly b: Shape;
}

/**
 * Launches `c = [beta c +] alpha op(a) op(b) [+ bias] [+ residual]`, or an activation function of that, once or for a
 * contiguous batch.
 */
export function launchMatmul(
  operands: Operands,
  options: PartialMatmulParams,
  batch?: Batch,
): void {
  const { c } = operands;
  if (c.size === 0 || options.m === 0 || options.n === 0) return;
  const { transposeA = 0, transposeB = 0 } = options;
  const invariant = taskContext().batchInvariant && !transposeA && transposeB;
  const params = matmulParams({ ...options, batchInvariant: Number(invariant) });
  if (batch?.shape.length) eachBatch(batch, params, (part) => cut(operands, part));
  else cut(operands, params);
}

/** Calls `run` for each run of products that two batch strides describe; usually one. */
function eachBatch(
  batch: Batch,
  params: MatmulParams,
  run: (part: MatmulParams) => void,
): void {
  const { shape } = batch;
  const matrixA = batch.a.slice(-2).reduce((x, y) => x * y);
  const matrixB = batch.b.slice(-2).reduce((x, y) => x * y);
  const stridesA = broadcastStrides(batch.a.slice(0, -2), shape).map((stride) => stride * matrixA);
  const stridesB = broadcastStrides(batch.b.slice(0, -2), shape).map((stride) => stride * matrixB);
  const axes = collapse(shape, stridesA, stridesB);
  const [inner = { length: 1, a: 0, b: 0 }, outer = { length: 1, a: 0, b: 0 }, ...rest] = axes
    .reverse();
  const matrixC = params.m * params.n;
  let offsets = [{ a: 0, b: 0 }];
  for (const axis of rest.reverse()) {
    offsets = offsets.flatMap((at) =>
      Array.from(
        { length: axis.length },
        (_, i) => ({ a: at.a + i * axis.a, b: at.b + i * axis.b }),
      )
    );
  }
  offsets.forEach((at, group) =>
    run({
      ...params,
      batches: outer.length * inner.length,
      inner: inner.length,
      aOffset: params.aOffset + at.a,
      bOffset: params.bOffset + at.b,
      cOffset: params.cOffset + group * outer.length * inner.length * matrixC,
      aOuter: outer.a,
      aInner: inner.a,
      bOuter: outer.b,
      bInner: inner.b,
      cOuter: inner.length * matrixC,
      cInner: matrixC,
    })
  );
}

/** The batch axes, with adjacent ones merged where one stride describes both. */
function collapse(
  shape: Shape,
  a: readonly number[],
  b: readonly number[],
): { length: number; a: number; b: number }[] {
  const axes: { length: number; a: number; b: number }[] = [];
  shape.forEach((length, axis) => {
    if (length === 1) return;
    const last = axes.at(-1);
    if (last && last.a === a[axis]! * length && last.b === b[axis]! * length) {
      last.length *= length;
      last.a = a[axis]!;
      last.b = b[axis]!;
    } else axes.push({ length, a: a[axis]!, b: b[axis]! });
  });
  return axes;
}

/** The operands of every product. */
type Matrix = "a" | "b" | "c";

/**
 * Launches a product. As often as needed, halves it along a stored axis of an operand that is too long to bind, or
 * along an axis that is too long for one launch on a GPU.
 */
function cut(operands: Operands, params: MatmulParams): void {
  const { device } = operands.c.buffer;
  const spans = spansOf(params);
  const canBind = (name: Matrix) => {
    const bytes = BYTES[operands[name].dtype];
    return operands[name].size * bytes <= device.maxBindingBytes ||
      spans[name] * bytes <= device.maxBindingBytes - device.bindingAlignment;
  };
  const tooLong = (["c", "a", "b"] as const).find((name) => !canBind(name));
  if (tooLong && params.batches > 1) cutBatch(operands, params);
  else if (tooLong) {
    const axis = rowAxis(tooLong, params);
    if (params[axis] === 1) {
      const { m, k, n } = params;
      throw new DeviceError(
        `matmul: expected rows of at most ${device.maxBindingBytes} bytes, which ${device.description} can ` +
          `bind, but got longer ones of ${tooLong} in ${m} x ${k} x ${n}`,
      );
    }
    cutAxis(operands, params, axis);
  } else {
    const axis = device.kind === "webgpu" ? tooLongAxis(params) : undefined;
    if (axis === "batches") cutBatch(operands, params);
    else if (axis) cutAxis(operands, params, axis);
    else launchNarrowed(operands, params, spans);
  }
}

/** Launches a product whose operands can be bound, each starting at the first element that it touches. */
function launchNarrowed(
  operands: Operands,
  params: MatmulParams,
  spans: Readonly<Record<Matrix, number>>,
): void {
  const { bias, residual, pre, rowSums } = operands;
  const a = narrow(operands.a, params.aOffset, spans.a);
  const b = narrow(operands.b, params.bOffset, spans.b);
  const c = narrow(operands.c, params.cOffset, spans.c);
  const likeC = (x: Binding | undefined) => x && narrow(x, params.cOffset, spans.c).binding;
  const { dtype } = operands.b;
  operands.c.buffer.device.launch(
    isQuantised(dtype) ? quantisedMatmuls[dtype] : matmulKernel,
    {
      a: a.binding,
      ...isQuantised(dtype) ? planesOf(operands.b, b.binding) : { b: b.binding },
      c: c.binding,
      bias,
      residual: likeC(residual),
      pre: likeC(pre),
      ...rowSums && { rowSums },
    },
    { ...params, aOffset: a.first, bOffset: b.first, cOffset: c.first },
  );
}

/** The axis along which the rows of an operand are stored. */
function rowAxis(name: Matrix, { transposeA, transposeB }: MatmulParams): "m" | "n" | "k" {
  if (name === "c") return "m";
  if (name === "a") return transposeA ? "k" : "m";
  return transposeB ? "n" : "k";
}

/** Halves a product along an axis. */
function cutAxis(operands: Operands, params: MatmulParams, axis: "m" | "n" | "k"): void {
  const { lda, ldb, ldc, transposeA, transposeB } = params;
  const { bias, rowSums } = operands;
  const length = params[axis];
  // Cuts at multiples of a step, so that the bias of a later part still starts at an aligned offset.
  const aligned = operands.c.buffer.device.bindingAlignment / BYTES[bias?.dtype ?? "f16"];
  const step = [128, aligned].find((step) => length > step && step % aligned === 0) ?? 1;
  const half = Math.ceil(length / 2 / step) * step;
  const at = { m: 0, n: 0, k: 0, [axis]: half };
  const first = { ...params, [axis]: half };
  const second: MatmulParams = {
    ...params,
    [axis]: length - half,
    aOffset: params.aOffset + (transposeA ? at.k * lda + at.m : at.m * lda + at.k),
    bOffset: params.bOffset + (transposeB ? at.n * ldb + at.k : at.k * ldb + at.n),
    cOffset: params.cOffset + at.m * ldc + at.n,
  };
  if (axis === "k") {
    // The first part adds bias and residual. The last one has the complete sum and applies the activation.
    cut({ ...operands, pre: undefined }, { ...first, activation: 0, derivative: 0 });
    cut({ ...operands, bias: undefined, residual: undefined }, { ...second, beta: 1 });
    return;
  }
  // The columns' bias and the rows' sums.
  const cutAt = (x: Binding | undefined, along: "m" | "n"): (Binding | undefined)[] =>
    !x || axis !== along ? [x, x] : [part(x, 0, half), part(x, half, x.size - half)];
  const [firstBias, secondBias] = cutAt(bias, "n");
  const [firstSums, secondSums] = cutAt(rowSums, "m");
  cut({ ...operands, bias: firstBias, rowSums: firstSums }, first);
  cut({ ...operands, bias: secondBias, rowSums: axis === "n" ? undefined : secondSums }, second);
}

/** Halves a batch. */
function cutBatch(operands: Operands, params: MatmulParams): void {
  const { batches, inner } = params;
  const outer = batches / inner;
  const byOuter = outer > 1;
  const half = Math.ceil((byOuter ? outer : inner) / 2);
  const step = (name: Matrix) => half * (byOuter ? params[`${name}Outer`] : params[`${name}Inner`]);
  const first = byOuter ? { batches: half * inner } : { batches: half, inner: half };
  const second = byOuter
    ? { batches: batches - half * inner }
    : { batches: inner - half, inner: inner - half };
  cut(operands, { ...params, ...first });
  cut(operands, {
    ...params,
    ...second,
    aOffset: params.aOffset + step("a"),
    bOffset: params.bOffset + step("b"),
    cOffset: params.cOffset + step("c"),
  });
}

/** The number of elements between the first and last that a product touches in each operand, both included. */
function spansOf(params: MatmulParams): Record<Matrix, number> {
  const { m, n, k, lda, ldb, ldc, batches, inner, transposeA, transposeB } = params;
  const span = (name: Matrix, [rows, columns]: [number, number], ld: number) =>
    rows === 0 || columns === 0 ? 0 : (batches / inner - 1) * params[`${name}Outer`] +
      (inner - 1) * params[`${name}Inner`] + (rows - 1) * ld + columns;
  return {
    a: span("a", transposeA ? [k, m] : [m, k], lda),
    b: span("b", transposeB ? [n, k] : [k, n], ldb),
    c: span("c", [m, n], ldc),
  };
}

/** Elements of a quantised tensor after which both codes and scales are at a multiple of 256 bytes. */
const QUANTISED_STEP = 4096;

/** The part of a binding that a launch touches, starting at an aligned byte; all of it if it is short enough. */
function narrow(
  operand: Binding,
  first: number,
  length: number,
): { binding: Binding; first: number } {
  const { device } = operand.buffer;
  const { buffer, dtype, offset, size } = operand;
  if (size * BYTES[dtype] <= device.maxBindingBytes) return { binding: operand, first };
  const step = isQuantised(dtype) ? QUANTISED_STEP : device.bindingAlignment / BYTES[dtype];
  const from = Math.floor(first / step) * step;
  return {
    binding: { buffer, dtype, offset: offset + from, size: first - from + length },
    first: first - from,
  };
}
