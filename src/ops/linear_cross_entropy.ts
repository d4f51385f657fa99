/**
 * The output layer and cross-entropy in one, without the logits.
 *
 * @module
 */
import { axpy } from "../../kernels/elementwise/axpy.ts";
import { crossEntropy as forward } from "../../kernels/rows/cross_entropy.ts";
import { crossEntropyCount } from "../../kernels/rows/cross_entropy_count.ts";
import { crossEntropyFused } from "../../kernels/rows/cross_entropy_fused.ts";
import { crossEntropyScale } from "../../kernels/rows/cross_entropy_scale.ts";
import { fill } from "../../kernels/elementwise/fill.ts";
import type { Binding, Device } from "../device/device.ts";
import type { DType } from "../device/dtype.ts";
import { constant } from "../tensor/create.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, sameDevice, sameDType } from "./check.ts";
import {
  checkTargets,
  type CrossEntropyOptions,
  crossEntropyParams,
  meanLoss,
} from "./cross_entropy_launch.ts";
import { launchMatmul } from "./matmul_launch.ts";

/** Options of {@linkcode linearCrossEntropy}. */
export interface LinearCrossEntropyOptions extends CrossEntropyOptions {
  /** (V), added to the logits of every row. */
  readonly bias?: Tensor;
  /**
   * Rows whose logits are held at a time, rounded up to what the device can bind. Default: 64 MiB of logits,
   * but no fewer than 64 rows.
   */
  readonly chunkRows?: number;
}

/** Bytes of logits that are held at a time. */
const CHUNK_BYTES = 64 * 2 ** 20;

/**
 * `crossEntropy(hidden @ weight^T + bias, targets)` without ever holding all logits, which are larger than all
 * else in the training of a small model: hidden (..., E), weight (V, E), targets (...) class ids; a scalar of
 * `f32`. Rows are taken in chunks; where a gradient is wanted, that of a chunk is worked out while its logits
 * are there and takes their place (Hsu et al., Liger Kernel, 2024). Loss and options are those of
 * `crossEntropy`.
 *
 * Throws what `crossEntropy` throws, and a `TypeError` when hidden, weight and bias do not go together.
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
  options: LinearCrossEntropyOptions = {},
): Tensor {
  const op = "linearCrossEntropy";
  const { bias } = options;
  const device = sameDevice(op, hidden, weight, targets, bias);
  checkFloat(op, hidden, weight);
  sameDType(op, hidden, weight, bias);
  const rows = checkTargets(op, hidden, targets);
  const width = hidden.shape.at(-1)!;
  if (weight.shape.length !== 2 || weight.shape[1] !== width) {
    throw new TypeError(
      `${op}: expected a weight of shape [V, ${width}] for hidden of shape ` +
        `${formatShape(hidden.shape)} but got ${formatShape(weight.shape)}`,
    );
  }
  const classes = weight.shape[0];
  if (bias && !sameShape(bias.shape, [classes])) {
    throw new TypeError(
      `${op}: expected a bias of shape [${classes}] but got ${formatShape(bias.shape)}`,
    );
  }
  const params = crossEntropyParams(op, rows, classes, options);
  const chunk = chunkRows(device, rows, classes, options.chunkRows);

  const scale = Tensor.empty(device, [1]);
  const { smoothing: _, ...countParams } = params;
  device.launch(crossEntropyCount, { targets, scale }, countParams);
  const losses = Tensor.empty(device, [rows]);
  // In f32 even for f16: shares of a mean over many rows and classes are too small for it.
  const logits = Tensor.empty(device, [chunk, classes]);
  const dHidden = needsGrad([hidden]) ? Tensor.empty(device, hidden.shape) : undefined;
  const dWeight = needsGrad([weight]) ? Tensor.empty(device, weight.shape) : undefined;
  const dBias = bias && needsGrad([bias]) ? Tensor.empty(device, bias.shape) : undefined;
  const ones = dBias && constant(device, [chunk], 1); // a product with them adds up columns
  if (rows === 0) {
    for (const y of [dWeight, dBias]) {
      if (y) device.launch(fill, { y }, { count: y.size, value: 0 });
    }
  }

  for (let first = 0; first < rows; first += chunk) {
    const count = Math.min(chunk, rows - first);
    const part = (tensor: Tensor): Binding => ({
      buffer: tensor.buffer,
      dtype: tensor.dtype,
      offset: first,
      size: count,
    });
    const here: Binding = {
      buffer: logits.buffer,
      dtype: logits.dtype,
      offset: 0,
      size: count * classes,
    };
    const aOffset = first * width;
    // deno-fmt-ignore
    launchMatmul({ m: count, n: classes, k: width, a: hidden, aOffset, b: weight, transposeB: true, c: here, bias });
    const bindings = { logits: here, targets: part(targets), loss: part(losses) };
    if (!dHidden && !dWeight && !dBias) {
      device.launch(forward, bindings, { ...params, rows: count });
      continue;
    }
    device.launch(crossEntropyFused, { ...bindings, scale }, { ...params, rows: count });
    if (dHidden) {
      // deno-fmt-ignore
      launchMatmul({ m: count, n: width, k: classes, a: here, b: weight, c: dHidden, cOffset: aOffset });
    }
    if (dWeight) {
      // deno-fmt-ignore
      launchMatmul({ m: classes, n: width, k: count, a: here, transposeA: true, b: hidden, bOffset: aOffset,
        c: dWeight, accumulate: first > 0 });
    }
    if (ones) {
      // deno-fmt-ignore
      launchMatmul({ m: 1, n: classes, k: count, a: ones, b: here, c: dBias!, accumulate: first > 0 });
    }
  }
  logits.dispose();
  ones?.dispose();
  const mean = meanLoss(losses, scale);
  scale.dispose();

  const grads = bias ? [dHidden, dWeight, dBias] : [dHidden, dWeight];
  const known = grads.filter((grad) => grad !== undefined);
  record(op, [hidden, weight, ...bias ? [bias] : []], mean, known, (dOut, saved) => {
    const ready = saved.map((grad) => scaled(grad, dOut, hidden.dtype));
    return grads.map((grad) => grad ? ready.shift()! : null);
  });
  known.forEach((grad) => grad.dispose());
  return mean;
}

/** Rows at a time, so that the rows of each chunk begin where a binding may. */
function chunkRows(device: Device, rows: number, classes: number, asked?: number): number {
  if (asked !== undefined && !(Number.isInteger(asked) && asked > 0)) {
    throw new RangeError(`linearCrossEntropy: expected chunkRows of 1 or more but got ${asked}`);
  }
  const step = Math.max(1, device.bindingAlignment / 4);
  const bytes = Math.min(CHUNK_BYTES, device.maxBindingBytes);
  const chunk = asked ?? Math.max(64, Math.floor(bytes / (4 * classes)));
  return Math.max(1, Math.min(rows, Math.ceil(chunk / step) * step));
}

/** `grad` times `dOut`, in its own memory where the type stays. */
function scaled(grad: Tensor, dOut: Tensor, dtype: DType): Tensor {
  const { device, size } = grad;
  device.launch(crossEntropyScale, { scale: dOut, y: grad }, { count: size });
  if (dtype === grad.dtype) return grad;
  const converted = constant(device, grad.shape, 0, dtype);
  device.launch(axpy, { x: grad, y: converted }, { count: size, a: 1 });
  return converted;
}
