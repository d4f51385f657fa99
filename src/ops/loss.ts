/**
 * Losses: cross-entropy, from logits or directly from hidden states, and losses of elements, such as the mean squared
 * error.
 *
 * @module
 */
import { axpy } from "../../kernels/elementwise/axpy.ts";
import { fill } from "../../kernels/elementwise/fill.ts";
import {
  crossEntropy as crossEntropyKernel,
  crossEntropyBackward,
  crossEntropyCount,
  crossEntropyFused,
  crossEntropyMean,
  type CrossEntropyParams,
  crossEntropyScale,
} from "../../kernels/rows/cross_entropy.ts";
import { unaryBackwardKernels, unaryKernels } from "../../kernels/elementwise/unary.ts";
import type { Binding, Device } from "../device/device.ts";
import { BYTES, isQuantised } from "../device/dtype.ts";
import { constant } from "../tensor/create.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { scoped } from "../tensor/scope.ts";
import { needsGrad, noGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkIds, checkMultiplied, sameDevice, sameDType } from "./check.ts";
import { softplus } from "./activations.ts";
import {
  abs,
  add,
  cast,
  clamp,
  div,
  equal,
  exp,
  less,
  log,
  maskedFill,
  maximum,
  mul,
  neg,
  type Operand,
  square,
  sub,
  where,
} from "./elementwise.ts";
import { copyRun, part, placeFor, sumColumns } from "./launch.ts";
import { launchMatmul } from "./matmul.ts";
import { mean as meanOf, sum } from "./reduce.ts";
import { unsqueeze } from "./shape.ts";

/** Targets of this value are ignored unless the options say otherwise. */
export const IGNORE_INDEX = -100;

/**
 * Returns the mean of `-log(softmax(logits)[target])` over the rows whose target is not ignored, a scalar of `f32`:
 * logits (..., C), targets (...) of class ids, `i32` or `u32`. With label smoothing s, the loss of a row is
 * `(1 - s) * nll + s * mean(-log p)`. With `reduction: "sum"` the losses are added up; with `"none"` they are returned
 * in the shape of the targets, 0 where the target is ignored. All as in PyTorch. The softmax itself is never stored.
 *
 * If every row is ignored, the mean is NaN (0 / 0, as in PyTorch) and the gradient is 0.
 *
 * Throws a `TypeError` if shapes, dtypes or devices do not match, and a `RangeError` for options out of range. On the
 * CPU, a target that is neither a class nor ignored throws a `RangeError` that names its row; a GPU cannot throw, and
 * such a row makes the loss and its gradient NaN.
 *
 * @example Evenly likely classes
 * ```ts
 * import { CpuDevice, crossEntropy, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([[0, 0, 0, 0], [1, 1, 1, 1]], { device });
 * using targets = tensor([3, 0], { device, dtype: "i32" });
 * using loss = crossEntropy(logits, targets);
 * assert.ok(Math.abs(await loss.item() - Math.log(4)) < 1e-6);
 * ```
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  options?: CrossEntropyOptions,
): Tensor {
  const op = "crossEntropy";
  const device = sameDevice(op, logits, targets);
  checkFloat(op, logits);
  const rows = checkTargets(op, logits, targets);
  const params = crossEntropyParams(op, rows, logits.shape.at(-1)!, options);
  const { reduction = "mean" } = options ?? {};
  checkReduction(op, reduction);
  return scoped(() => {
    // On the CPU this checks the targets, too.
    const counted = meanScale(targets, params);
    const scale = reduction === "mean" ? counted : constant(device, [1], 1);
    const losses = Tensor.empty(device, targets.shape);
    const sums = needsGrad([logits]) ? Tensor.empty(device, [rows, 2]) : undefined;
    device.launch(crossEntropyKernel, { logits, targets, loss: losses, sums }, params);
    const y = reduction === "none" ? losses : scaledSum(losses, scale);
    return record(op, [logits], y, [logits, targets, sums, scale], (dOut, saved) => {
      const [logits, targets, sums, scale] = saved;
      const { shape, dtype } = logits;
      const bindings = { logits, targets, sums, scale };
      if (reduction !== "none") {
        const dLogits = Tensor.empty(device, shape, dtype);
        device.launch(crossEntropyBackward, { ...bindings, dOut, dLogits }, params);
        return [dLogits];
      }
      // In f32: gradients of a scaled loss may be too large for f16 before they are multiplied.
      const dLogits = Tensor.empty(device, shape);
      device.launch(crossEntropyBackward, { ...bindings, dOut: scale, dLogits }, params);
      return [cast(mul(dLogits, unsqueeze(dOut, -1)), dtype)];
    });
  });
}

/** Options of {@linkcode linearCrossEntropy}. */
export interface LinearCrossEntropyOptions extends Omit<CrossEntropyOptions, "reduction"> {
  /** (V), added to the logits of every row. */
  readonly bias?: Tensor | undefined;
  /** Replaces logits by `softcap * tanh(logits / softcap)`. Default: no cap. */
  readonly softcap?: number | undefined;
  /**
   * The number of rows whose logits are in memory at a time, rounded up to what the device can bind. Default: 64 MiB of
   * logits, or a quarter of the rows up to 2,048, whichever is larger; at least 64 rows.
   */
  readonly chunkRows?: number;
}

/** The default size of a chunk: the bytes of its logits, or its rows, whichever gives the larger chunk. */
const CHUNK_BYTES = 64 * 2 ** 20, CHUNK_ROWS = 2048;

/**
 * Returns `crossEntropy(hidden @ weight^T + bias, targets)`, a scalar of `f32`, without ever storing all logits, which
 * take more memory than anything else when training a small model: hidden (..., E), weight (V, E), targets (...) of
 * class ids. Rows are processed in chunks. Where gradients are needed, those of a chunk are computed while its logits
 * are in memory and overwrite them (Hsu et al., Liger Kernel, 2024). Loss and options are those of `crossEntropy`.
 *
 * Throws what `crossEntropy` throws, and a `TypeError` if hidden, weight and bias do not match.
 *
 * @example The same as in two steps
 * ```ts
 * import { CpuDevice, crossEntropy, linearCrossEntropy, matmul, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using hidden = tensor([[1, 2], [3, 4]], { device });
 * using weight = tensor([[1, 0], [0, 1], [1, 1]], { device });
 * using targets = tensor([2, 0], { device, dtype: "i32" });
 * using loss = linearCrossEntropy(hidden, weight, targets);
 * using logits = matmul(hidden, weight, { transposeB: true });
 * using expected = crossEntropy(logits, targets);
 * assert.ok(Math.abs(await loss.item() - await expected.item()) < 1e-6);
 * ```
 */
export function linearCrossEntropy(
  hidden: Tensor,
  weight: Tensor,
  targets: Tensor,
  options?: LinearCrossEntropyOptions,
): Tensor {
  const op = "linearCrossEntropy";
  const { bias, softcap: cap } = options ?? {};
  const device = sameDevice(op, hidden, weight, targets, bias);
  checkMultiplied(op, hidden, weight);
  sameDType(op, hidden, bias);
  const rows = checkTargets(op, hidden, targets);
  checkHead(op, hidden, { weight, bias });
  if (cap !== undefined && !(cap > 0 && cap < Infinity)) {
    throw new RangeError(`${op}: expected a softcap above 0 but got ${cap}`);
  }
  const classes = weight.shape[0]!;
  const params = crossEntropyParams(op, rows, classes, options);
  // With a cap, three chunks are in memory: logits, capped logits, and their gradient.
  const chunk = chunkRows(device, rows, (cap ? 3 : 1) * classes, options?.chunkRows);
  // Not with a cap: it would raise the bias of padded logits.
  const pads = device.kind === "webgpu" && classes % 4 > 0 && weight.bytes % 4 === 0 &&
    params.smoothing === 0 && !cap && !isQuantised(weight.dtype);
  const head = pads ? paddedHead({ weight, bias }) : { weight, bias };

  const scale = meanScale(targets, params);
  const losses = Tensor.empty(device, [rows]);
  const grads: HeadGrads = {
    hidden: needsGrad([hidden]) ? Tensor.empty(device, hidden.shape) : undefined,
    weight: needsGrad([weight]) ? Tensor.empty(device, head.weight.shape) : undefined,
    bias: bias && needsGrad([bias]) ? Tensor.empty(device, head.bias!.shape) : undefined,
  };
  launchChunks({ hidden, targets, scale, losses }, head, grads, params, { chunk, cap });
  if (pads) [head.weight, head.bias].forEach((padded) => padded!.dispose());
  const mean = scaledSum(losses, scale);
  losses.dispose();
  scale.dispose();

  const inputs = [hidden, weight, ...bias ? [bias] : []];
  const gradOf = [grads.hidden, grads.weight, ...bias ? [grads.bias] : []];
  const known = gradOf.filter((grad) => grad !== undefined);
  const wants = inputs.map(({ shape, dtype }) => ({ device, shape, dtype }));
  record(op, inputs, mean, known, (dOut, saved, _, places) => {
    let next = 0;
    return gradOf.map((grad, i) => {
      if (!grad) return null;
      const { y, accumulate } = placeFor(wants[i]!, places[i]);
      const count = y.size; // without the padding
      const x = part(saved[next++]!, 0, count);
      const scaling = { count, accumulate: Number(accumulate) };
      device.launch(crossEntropyScale, { scale: dOut, x, y }, scaling);
      return y;
    });
  });
  known.forEach((grad) => grad.dispose());
  return mean;
}

/** An output layer. */
interface Head {
  /** (V, E) */
  readonly weight: Tensor;
  /** (V) */
  readonly bias: Tensor | undefined;
}

/** Gradients of the hidden states and of the output layer, where needed. */
type HeadGrads = Readonly<Record<"hidden" | "weight" | "bias", Tensor | undefined>>;

/** Throws a `TypeError` unless the output layer fits `hidden`. */
function checkHead(op: string, hidden: Tensor, { weight, bias }: Head): void {
  const width = hidden.shape.at(-1)!;
  if (weight.shape.length !== 2 || weight.shape[1] !== width) {
    throw new TypeError(
      `${op}: expected a weight of shape [V, ${width}] for hidden of shape ` +
        `${formatShape(hidden.shape)} but got ${formatShape(weight.shape)}`,
    );
  }
  const [classes] = weight.shape;
  if (bias && !sameShape(bias.shape, [classes!])) {
    throw new TypeError(
      `${op}: expected a bias of shape [${classes}] but got ${formatShape(bias.shape)}`,
    );
  }
}

/** Computes the losses of all rows, and the gradients of their mean, `chunk` rows at a time. */
function launchChunks(
  { hidden, targets, scale, losses }: Record<"hidden" | "targets" | "scale" | "losses", Tensor>,
  { weight, bias }: Head,
  grads: HeadGrads,
  params: CrossEntropyParams,
  { chunk, cap }: { readonly chunk: number; readonly cap: number | undefined },
): void {
  const { device } = hidden;
  const { rows } = params;
  const [classes, width] = weight.shape as readonly [number, number];
  // f32 for f16 models too: gradients divided among many rows and classes are too small for f16.
  const logits = Tensor.empty(device, [chunk, classes]);
  const [capped, dLogits] = cap === undefined
    ? [logits, logits]
    : [Tensor.empty(device, logits.shape), Tensor.empty(device, logits.shape)];
  if (rows === 0) {
    for (const y of [grads.weight, grads.bias]) {
      if (y) device.launch(fill, { y }, { count: y.size, value: 0 });
    }
  }
  for (let first = 0; first < rows; first += chunk) {
    const count = Math.min(chunk, rows - first), size = count * classes;
    const raw = part(logits, 0, size), scores = part(capped, 0, size);
    const sizes = { m: count, n: classes, k: width };
    launchMatmul(
      { a: hidden, b: weight, c: raw, bias },
      { ...sizes, aOffset: first * width, transposeB: 1 },
    );
    const capping = { count: size, float: 1, cap: cap ?? 0 };
    if (cap !== undefined) device.launch(unaryKernels.softcap, { a: raw, y: scores }, capping);
    const bindings = {
      logits: scores,
      targets: part(targets, first, count),
      loss: part(losses, first, count),
    };
    const own = { ...params, rows: count, classes };
    if (!grads.hidden && !grads.weight && !grads.bias) {
      device.launch(crossEntropyKernel, bindings, own);
      continue;
    }
    device.launch(crossEntropyFused, { ...bindings, scale }, own);
    const dOut = part(dLogits, 0, size);
    if (cap !== undefined) {
      device.launch(unaryBackwardKernels.softcap, { a: scores, b: raw, y: dOut }, capping);
    }
    launchHeadGrads(dOut, { hidden, weight }, grads, first, count);
  }
  new Set([logits, capped, dLogits]).forEach((chunk) => chunk.dispose());
}

/** Adds the contribution of `count` rows, starting at row `first`, to the gradients. */
function launchHeadGrads(
  dOut: Binding,
  { hidden, weight }: Record<"hidden" | "weight", Tensor>,
  grads: HeadGrads,
  first: number,
  count: number,
): void {
  const [classes, width] = weight.shape as readonly [number, number];
  const accumulate = first > 0;
  if (grads.hidden) {
    const c = part(grads.hidden, first * width, count * width);
    launchMatmul({ a: dOut, b: weight, c }, { m: count, n: width, k: classes });
  }
  if (grads.weight) {
    const sizes = { m: classes, n: width, k: count };
    launchMatmul(
      { a: dOut, b: hidden, c: grads.weight },
      { ...sizes, bOffset: first * width, transposeA: 1, beta: Number(accumulate) },
    );
  }
  if (grads.bias) sumColumns({ dOut }, { dBias: { y: grads.bias, accumulate } });
}

/** The bias of padded logits, small enough for a probability of 0. */
const LOWEST = { f32: -1e30, f16: -60_000 };

/**
 * The output layer padded with rows of zeros to a multiple of 64. Products on a GPU load four elements at a time only
 * if rows begin at a multiple of four, and GPT-2's 50,257 columns do not.
 */
function paddedHead({ weight, bias }: Head): Head {
  const { device, dtype, size } = weight;
  const [known, width] = weight.shape as readonly [number, number];
  const classes = Math.ceil(known / 64) * 64;
  const zero = { value: 0 };
  const padded = Tensor.empty(device, [classes, width], dtype);
  const step = device.bindingAlignment / BYTES[dtype];
  const from = Math.floor(size / step) * step;
  const rest = part(padded, from, padded.size - from);
  device.launch(fill, { y: rest }, { count: rest.size, ...zero });
  copyRun(weight, 0, padded, 0, size);
  const low = constant(device, [classes], LOWEST[dtype as "f32" | "f16"], dtype);
  const own = part(low, 0, known);
  device.launch(fill, { y: own }, { count: known, ...zero });
  if (bias) device.launch(axpy, { x: bias, y: own }, { count: known, a: 1 });
  return { weight: padded, bias: low };
}

/** The number of rows per chunk, such that each chunk begins where a binding may. */
function chunkRows(device: Device, rows: number, classes: number, asked?: number): number {
  if (asked !== undefined && !(Number.isInteger(asked) && asked > 0)) {
    throw new RangeError(`linearCrossEntropy: expected chunkRows of 1 or more but got ${asked}`);
  }
  const step = Math.max(1, device.bindingAlignment / 4);
  const chunk = asked ?? defaultChunkRows(rows, classes, device.maxBindingBytes);
  return Math.max(1, Math.min(rows, Math.ceil(chunk / step) * step));
}

/**
 * The default number of rows per chunk of {@linkcode linearCrossEntropy}: 64 MiB of logits, or a quarter of the rows up
 * to 2,048 if that is more, since a GPU needs enough to be busy; at most what can be bound, and at least 64.
 */
export function defaultChunkRows(
  rows: number,
  classes: number,
  maxBindingBytes = Infinity,
): number {
  const quarter = Math.min(CHUNK_ROWS, Math.ceil(rows / 4));
  const asked = Math.max(Math.floor(CHUNK_BYTES / (4 * classes)), quarter);
  const most = Math.max(64, Math.min(asked, Math.floor(maxBindingBytes / (4 * classes))));
  return most >= 128 ? Math.floor(most / 128) * 128 : most;
}

/** Options of {@linkcode crossEntropy}. */
export interface CrossEntropyOptions extends LossOptions {
  /** Rows with this target are ignored, for example padding. Default: -100. */
  readonly ignoreIndex?: number;
  /**
   * The fraction of the target distribution, from 0 to 1, that is spread evenly over all classes (Szegedy et al.,
   * 2016). Default: 0.
   */
  readonly labelSmoothing?: number | undefined;
}

/** 1 / the number of rows that are not ignored, (1). */
function meanScale(targets: Tensor, { rows, classes, ignoreIndex }: CrossEntropyParams): Tensor {
  const { device } = targets;
  const scale = Tensor.empty(device, [1]);
  device.launch(crossEntropyCount, { targets, scale }, { rows, classes, ignoreIndex });
  return scale;
}

/** The sum of the rows' losses times `scale` (1). */
function scaledSum(losses: Tensor, scale: Tensor): Tensor {
  const { device } = losses;
  const mean = Tensor.empty(device, []);
  device.launch(crossEntropyMean, { loss: losses, scale, mean }, { rows: losses.size });
  return mean;
}

/** The number of rows of `x` (..., columns). Throws a `TypeError` unless each has a target. */
function checkTargets(op: string, x: Tensor, targets: Tensor): number {
  checkIds(op, targets);
  if (x.shape.length === 0 || !sameShape(x.shape.slice(0, -1), targets.shape)) {
    throw new TypeError(
      `${op}: expected a target for each row of shape ${formatShape(x.shape)}, so of shape ` +
        `${formatShape(x.shape.slice(0, -1))}, but got ${formatShape(targets.shape)}`,
    );
  }
  return targets.size;
}

/** The kernels' parameters for these options. Throws a `RangeError` for options out of range. */
function crossEntropyParams(
  op: string,
  rows: number,
  classes: number,
  options: CrossEntropyOptions = {},
): CrossEntropyParams {
  const { ignoreIndex = IGNORE_INDEX, labelSmoothing = 0 } = options;
  if (classes === 0) throw new RangeError(`${op}: expected at least one class but got none`);
  if (!Number.isInteger(ignoreIndex) || Math.abs(ignoreIndex) >= 2 ** 31) {
    throw new RangeError(`${op}: expected an integer ignoreIndex but got ${ignoreIndex}`);
  }
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new RangeError(`${op}: expected label smoothing from 0 to 1 but got ${labelSmoothing}`);
  }
  return { rows, classes, ignoreIndex, smoothing: labelSmoothing, known: classes };
}

/** Options of the losses. */
export interface LossOptions {
  /** How the single losses are combined; `none` keeps their shape. Default: `mean`. */
  readonly reduction?: "mean" | "sum" | "none";
}

/**
 * Returns the squared differences of `x` and `target`, reduced by `reduction`: by default their mean. Both have the
 * same shape and float dtype. Throws a `TypeError` if shapes, dtypes or devices differ.
 *
 * @example
 * ```ts
 * import { CpuDevice, mseLoss, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2], { device });
 * using target = tensor([1, 4], { device });
 * using loss = mseLoss(x, target);
 * assert.equal(await loss.item(), 2);
 * ```
 */
export function mseLoss(x: Tensor, target: Tensor, options?: LossOptions): Tensor {
  checkElements("mseLoss", x, target);
  return scoped(() => joinLosses("mseLoss", square(sub(x, target)), options));
}

/**
 * Returns the absolute differences of `x` and `target`. Otherwise like {@linkcode mseLoss}.
 *
 * @example
 * ```ts
 * import { CpuDevice, l1Loss, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2], { device });
 * using target = tensor([1, 4], { device });
 * using loss = l1Loss(x, target);
 * assert.equal(await loss.item(), 1);
 * ```
 */
export function l1Loss(x: Tensor, target: Tensor, options?: LossOptions): Tensor {
  checkElements("l1Loss", x, target);
  return scoped(() => joinLosses("l1Loss", abs(sub(x, target)), options));
}

/** Options of {@linkcode huberLoss}. */
export interface HuberLossOptions extends LossOptions {
  /** The difference above which the loss is linear. Default: 1. */
  readonly delta?: number;
}

/**
 * Returns `d^2 / 2` where the difference d of `x` and `target` is at most `delta`, and `delta * (|d| - delta / 2)`
 * elsewhere (Huber, 1964). Divided by `delta`, this is PyTorch's `smooth_l1_loss`. Otherwise like {@linkcode mseLoss}.
 * Throws a `RangeError` unless `delta` is above 0.
 *
 * @example
 * ```ts
 * import { CpuDevice, huberLoss, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2], { device });
 * using target = tensor([2, 5], { device });
 * using losses = huberLoss(x, target, { reduction: "none" });
 * assert.deepEqual(await losses.toArray(), [0.5, 2.5]);
 * ```
 */
export function huberLoss(x: Tensor, target: Tensor, options?: HuberLossOptions): Tensor {
  checkElements("huberLoss", x, target);
  const { delta = 1 } = options ?? {};
  if (!(delta > 0)) throw new RangeError(`huberLoss: expected delta above 0 but got ${delta}`);
  return scoped(() => {
    const difference = sub(x, target);
    const limited = clamp(difference, -delta, delta);
    const losses = mul(limited, sub(difference, mul(limited, 0.5)));
    return joinLosses("huberLoss", losses, options);
  });
}

/** Options of {@linkcode klDiv}. */
export interface KlDivOptions {
  /**
   * How the elements' losses are combined: `batchmean` divides their sum by the length of the first axis, which gives
   * the divergence as defined; `none` keeps the shape. Default: `mean`, as in PyTorch.
   */
  readonly reduction?: "mean" | "batchmean" | "sum" | "none";
  /** Whether `target` has logarithms of probabilities, too. Default: false. */
  readonly logTarget?: boolean;
}

/**
 * Returns the elements `target * (log(target) - x)` of the Kullback-Leibler divergence of the distribution `x` from
 * `target`, reduced by `reduction`: by default their mean. `x` has logarithms of probabilities, as from `logSoftmax`, and
 * `target` probabilities. A probability of 0 gives 0. Both have the same shape and float dtype. Throws a `TypeError` if
 * shapes, dtypes or devices differ.
 *
 * @example
 * ```ts
 * import { CpuDevice, klDiv, logSoftmax, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([[5, 5]], { device });
 * using x = logSoftmax(logits);
 * using target = tensor([[1, 0]], { device });
 * using loss = klDiv(x, target, { reduction: "batchmean" });
 * assert.ok(Math.abs(await loss.item() - Math.log(2)) < 1e-6);
 * ```
 */
export function klDiv(x: Tensor, target: Tensor, options?: KlDivOptions): Tensor {
  checkElements("klDiv", x, target);
  const { reduction = "mean", logTarget = false } = options ?? {};
  checkReduction("klDiv", reduction, ["mean", "batchmean", "sum", "none"]);
  return scoped(() => {
    const logs = logTarget ? target : log(maskedFill(target, equal(target, 0), 1));
    const losses = mul(logTarget ? exp(target) : target, sub(logs, x));
    return reduction === "batchmean"
      ? div(sum(losses), x.shape[0] ?? 1)
      : joinLosses("klDiv", losses, { reduction });
  });
}

/**
 * Returns `-(target log p + (1 - target) log(1 - p))` for probabilities `p` and targets from 0 to 1, reduced by
 * `reduction`: by default the mean. Both have the same shape and float dtype; f16 is computed in f32. As in PyTorch,
 * logarithms are at least -100, so the loss stays finite. A probability outside [0, 1] gives NaN. For logits,
 * {@linkcode binaryCrossEntropyWithLogits} is more accurate. Throws a `TypeError` if shapes, dtypes or devices differ.
 *
 * @example
 * ```ts
 * import { binaryCrossEntropy, CpuDevice, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using p = tensor([0.5, 0.5], { device });
 * using target = tensor([1, 0], { device });
 * using loss = binaryCrossEntropy(p, target);
 * assert.ok(Math.abs(await loss.item() - Math.log(2)) < 1e-6);
 * ```
 */
export function binaryCrossEntropy(p: Tensor, target: Tensor, options?: LossOptions): Tensor {
  const op = "binaryCrossEntropy";
  checkElements(op, p, target);
  if (p.dtype === "f16") {
    return scoped(() =>
      cast(binaryCrossEntropy(cast(p, "f32"), cast(target, "f32"), options), "f16")
    );
  }
  // Drivers may flush denormals to 0, and return the logarithm of the smallest normal number for that of 0.
  const logOf = (p: Tensor): Tensor =>
    where(less(abs(p), 2 ** -126), constant(p.device, [], -100, p.dtype), maximum(log(p), -100));
  const logarithms = (p: Tensor): [yes: Tensor, no: Tensor] => [logOf(p), logOf(sub(1, p))];
  return scoped(() => {
    const losses = noGrad(() => {
      const [yes, no] = logarithms(p);
      return sub(mul(sub(target, 1), no), mul(target, yes));
    });
    record(op, [p, target], losses, [p, target], (dOut, [p, target], wanted) => {
      const slope = () => div(sub(p, target), maximum(mul(p, sub(1, p)), 1e-12));
      const [yes, no] = wanted[1] ? logarithms(p) : [];
      return [wanted[0] ? mul(dOut, slope()) : null, yes ? mul(dOut, sub(no!, yes)) : null];
    });
    return joinLosses(op, losses, options);
  });
}

/** Options of {@linkcode binaryCrossEntropyWithLogits}. */
export interface BinaryCrossEntropyWithLogitsOptions extends LossOptions {
  /** The weight of positive examples, a number or a tensor that broadcasts to the logits. Default: 1. */
  readonly posWeight?: Operand;
}

/**
 * Returns {@linkcode binaryCrossEntropy} of `sigmoid(logits)`, accurate for logits of any size:
 * `posWeight * target * softplus(-logits) + (1 - target) * softplus(logits)`.
 *
 * @example
 * ```ts
 * import { binaryCrossEntropyWithLogits, CpuDevice, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([0, 200], { device });
 * using target = tensor([1, 0], { device });
 * using losses = binaryCrossEntropyWithLogits(logits, target, { reduction: "none" });
 * assert.deepEqual(await losses.toArray(), [Math.fround(Math.log(2)), 200]);
 * ```
 */
export function binaryCrossEntropyWithLogits(
  logits: Tensor,
  target: Tensor,
  options?: BinaryCrossEntropyWithLogitsOptions,
): Tensor {
  const op = "binaryCrossEntropyWithLogits";
  checkElements(op, logits, target);
  const { posWeight = 1 } = options ?? {};
  return scoped(() => {
    const yes = mul(target, softplus(neg(logits)));
    const no = mul(sub(1, target), softplus(logits));
    return joinLosses(op, add(posWeight === 1 ? yes : mul(yes, posWeight), no), options);
  });
}

function checkElements(op: string, x: Tensor, target: Tensor): void {
  sameDevice(op, x, target);
  checkFloat(op, x, target);
  sameDType(op, x, target);
  if (!sameShape(x.shape, target.shape)) {
    throw new TypeError(
      `${op}: expected one shape but got ${formatShape(x.shape)} and ${formatShape(target.shape)}`,
    );
  }
}

function joinLosses(op: string, losses: Tensor, { reduction = "mean" }: LossOptions = {}): Tensor {
  checkReduction(op, reduction);
  if (reduction === "none") return losses;
  return reduction === "sum" ? sum(losses) : meanOf(losses);
}

/** Throws a `TypeError` unless the reduction is one of those allowed. */
function checkReduction(op: string, reduction: string, allowed = ["mean", "sum", "none"]): void {
  if (allowed.includes(reduction)) return;
  const names = allowed.map((name) => `"${name}"`);
  throw new TypeError(
    `${op}: expected reduction ${names.slice(0, -1).join(", ")} or ${
      names.at(-1)
    } but got "${reduction}"`,
  );
}
