/**
 * The global gradient norm, and clipping by it, without a read-back.
 *
 * @module
 */
import { clipFactor, SQUARES_BLOCK, sumOfSquares } from "../../kernels/optimizer/grad_norm.ts";
import type { Binding } from "../device/device.ts";
import { BYTES } from "../device/dtype.ts";
import { Scope } from "../tensor/scope.ts";
import { joinNeighbours } from "../tensor/slab.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { LossScaler } from "./loss_scaler.ts";
import { checkParameters, gradOf, type NamedParameters } from "./parameters.ts";

/** The result of {@linkcode clipGradNorm}, as tensors with one element on the device. */
export interface ClippedGradients {
  /** The global norm before clipping; NaN or infinite if a gradient is. Read it together with the loss. */
  readonly norm: Tensor;
  /** The factor that the optimizer's step must multiply gradients by; 0 if the norm is not finite. */
  readonly factor: Tensor;
}

/** Options of {@linkcode clipGradNorm}. */
export interface ClipOptions {
  /** The loss scaler in use. The norm and the factor are for the unscaled gradients. */
  readonly scaler?: LossScaler | undefined;
}

/**
 * Gradients that were passed to {@linkcode clipGradNorm} with a finite `maxNorm` and whose factor no optimizer has
 * received.
 */
const unclipped = new WeakSet<Tensor>();

/**
 * Notes that an optimizer steps with these gradients. Throws a `TypeError` if they are to be clipped and there is no
 * `gradScale`: PyTorch's `clip_grad_norm_` changes the gradients themselves, here the step applies the factor.
 */
export function checkClipped(what: string, grads: readonly Tensor[], hasScale: boolean): void {
  const forgotten = grads.filter((grad) => unclipped.delete(grad));
  if (hasScale || forgotten.length === 0) return;
  throw new TypeError(
    `${what}: expected gradScale, the factor that clipGradNorm gave for these gradients, but got none; ` +
      "clipGradNorm leaves them as they are",
  );
}

/**
 * Returns the global L2 norm of all gradients, and the factor `min(1, maxNorm / norm)` that limits it to `maxNorm`
 * (`Infinity` for no limit). The gradients are not changed: pass the factor to the optimizer's `step({ gradScale })`,
 * which throws without it. Never waits for the device; read the norm together with the loss. Parameters without a
 * gradient are ignored.
 *
 * Throws a `RangeError` unless `maxNorm` is above 0, and a `TypeError` if no parameter has a gradient. (Pascanu et al.
 * 2013, "On the difficulty of training recurrent neural networks".)
 *
 * @example
 * ```ts
 * import { clipGradNorm, CpuDevice, readTensors, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const weight = tensor([0, 0], { device });
 * weight.grad = tensor([3, 4], { device });
 * const { norm, factor } = clipGradNorm({ weight }, 1);
 * const [[length], [scale]] = await readTensors([norm, factor]);
 * assert.equal(length, 5);
 * assert.equal(scale, Math.fround(0.2));
 * ```
 */
export function clipGradNorm(
  parameters: NamedParameters,
  maxNorm: number,
  options?: ClipOptions,
): ClippedGradients {
  if (!(maxNorm > 0)) {
    throw new RangeError(`clipGradNorm: expected a maxNorm above 0 but got ${maxNorm}`);
  }
  const grads = checkParameters("clipGradNorm", parameters)
    .map(([name, parameter]) => gradOf("clipGradNorm", name, parameter))
    .filter((grad) => grad !== null);
  if (grads.length === 0) {
    throw new TypeError(
      "clipGradNorm: expected a gradient but got none for any parameter; call backward() first",
    );
  }
  if (maxNorm < Infinity) grads.forEach((grad) => unclipped.add(grad));
  const { device } = grads[0]!;
  const norm = Tensor.empty(device, []);
  const factor = Tensor.empty(device, []);
  using _scope = new Scope();
  const pieces = joinNeighbours(grads.map((x) => ({ x }))).flatMap(({ x }) => bindable(x));
  const blocks = pieces.map(({ size }) => Math.ceil(size / SQUARES_BLOCK));
  const count = blocks.reduce((sum, some) => sum + some, 0);
  const partials = Tensor.empty(device, [count]);
  let first = 0;
  pieces.forEach((x, i) => {
    device.launch(sumOfSquares, { x, partials }, { count: x.size, first });
    first += blocks[i]!;
  });
  const lossScale = options?.scaler?.scale;
  device.launch(clipFactor, { partials, lossScale, norm, factor }, {
    count,
    maxNorm: maxNorm === Infinity ? 0 : maxNorm,
    scaled: lossScale ? 1 : 0,
  });
  return { norm, factor };
}

/** The elements in pieces that the device can bind, in whole blocks except the last. */
function bindable({ buffer, dtype, offset: start, size }: Binding): Binding[] {
  const { device } = buffer;
  const most = Math.floor(device.maxBindingBytes / (BYTES[dtype] * SQUARES_BLOCK)) * SQUARES_BLOCK;
  const pieces: Binding[] = [];
  for (let offset = 0; offset < size; offset += most) {
    pieces.push({ buffer, dtype, offset: start + offset, size: Math.min(most, size - offset) });
  }
  return pieces;
}
