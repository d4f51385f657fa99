/**
 * The feed-forward layer of a transformer: two affine maps with an activation function between them.
 *
 * @module
 */
import { ACTIVATIONS } from "../../kernels/gemm/params.ts";
import { formatShape, sameShape, sizeOf } from "../tensor/shape.ts";
import { needsGrad, record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkMultiplied, sameDevice, sameDType } from "./check.ts";
import { launchLinearBackward, launchMatmul } from "./matmul.ts";
import { placeFor } from "./launch.ts";

/** An affine map, such as a `Linear`. */
export interface AffineMap {
  /** (outputs, inputs) */
  readonly weight: Tensor;
  /** (outputs) */
  readonly bias?: Tensor | undefined;
}

/** Options of {@linkcode feedForward}. */
export interface FeedForwardOptions {
  /** The activation function between the maps. `geluTanh` is GPT-2's approximation of `gelu`. */
  readonly activation: "gelu" | "geluTanh" | "relu" | "reluSquared";
  /** (..., outputs), added to the result. */
  readonly residual?: Tensor | undefined;
}

/**
 * Returns `down(f(up(x)))`, plus `residual` if given: x (..., inputs), up (F, inputs) and down (outputs, F) give
 * (..., outputs). Equivalent to `linear`, the activation and `linear`, but the activation and its derivative are
 * applied inside the matrix products. Throws a `TypeError` if shapes, devices or dtypes do not match.
 *
 * @example One number in, through two of which one is negative
 * ```ts
 * import { CpuDevice, feedForward, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const up = { weight: tensor([[1], [-1]], { device }), bias: tensor([0.5, 0], { device }) };
 * const down = { weight: tensor([[2, 2]], { device }) };
 * using y = feedForward(tensor([[3]], { device }), up, down, { activation: "relu" });
 * assert.deepEqual(await y.toArray(), [[7]]);
 * ```
 */
export function feedForward(
  x: Tensor,
  up: AffineMap,
  down: AffineMap,
  { activation: name, residual }: FeedForwardOptions,
): Tensor {
  const op = "feedForward";
  const device = sameDevice(op, x, up.weight, up.bias, down.weight, down.bias, residual);
  checkMultiplied(op, x, up.weight);
  checkMultiplied(op, x, down.weight);
  sameDType(op, x, residual);
  checkFloat(op, ...[up.bias, down.bias].filter((bias) => bias !== undefined));
  const rows = x.shape.slice(0, -1);
  const inputs = x.shape.at(-1), [width, outputs] = [up.weight.shape[0]!, down.weight.shape[0]!];
  const shape = [...rows, outputs];
  checkShape("the weight of up", up.weight, [width, inputs ?? NaN]);
  checkShape("the weight of down", down.weight, [outputs, width]);
  checkShape("the bias of up", up.bias, [width]);
  checkShape("the bias of down", down.bias, [outputs]);
  checkShape("a residual", residual, shape);
  const activation = activationIndex(name);

  const biases = [up.bias, down.bias].filter((bias) => bias !== undefined);
  const operands = [x, up.weight, down.weight, ...biases, ...residual ? [residual] : []];
  const upBiasAt = up.bias ? 3 : -1, downBiasAt = down.bias ? 2 + biases.length : -1;
  const residualAt = residual ? operands.length - 1 : -1;
  const m = sizeOf(rows);
  const hidden = Tensor.empty(device, [...rows, width], x.dtype);
  const pre = needsGrad(operands) ? Tensor.empty(device, hidden.shape, x.dtype) : undefined;
  const y = Tensor.empty(device, shape, x.dtype);
  launchMatmul(
    { a: x, b: up.weight, c: hidden, bias: up.bias, pre },
    { m, n: width, k: inputs!, transposeB: 1, activation },
  );
  launchMatmul(
    { a: hidden, b: down.weight, c: y, bias: down.bias, residual },
    { m, n: outputs, k: width, transposeB: 1 },
  );
  const saved = [x, up.weight, down.weight, hidden, pre] as const;
  record(op, operands, y, saved, (dOut, [x, upWeight, downWeight, hidden, pre], wanted, places) => {
    const grads: (Tensor | null)[] = operands.map((_, i) => i === residualAt ? dOut : null);
    const place = (i: number) => {
      const taken = wanted[i] ? placeFor(operands[i]!, places[i]) : undefined;
      if (taken) grads[i] = taken.y;
      return taken;
    };
    const dPre = Tensor.empty(device, hidden.shape, hidden.dtype);
    launchMatmul(
      { a: dOut, b: downWeight, c: dPre, pre },
      { m, n: width, k: outputs, activation, derivative: 1 },
    );
    // Frees what the following products do not need, to make room for their results.
    pre!.dispose();
    const down = { weight: place(2), bias: place(downBiasAt) };
    launchLinearBackward(dOut, hidden, downWeight, down);
    hidden.dispose();
    const up = { x: place(0), weight: place(1), bias: place(upBiasAt) };
    launchLinearBackward(dPre, x, upWeight, up);
    return grads;
  });
  hidden.dispose();
  pre?.dispose();
  return y;
}

/** The kernels' code for an activation function. Throws a `TypeError` for an unknown name. */
function activationIndex(name: string): number {
  const index = (ACTIVATIONS as readonly string[]).indexOf(name);
  if (index >= 1) return index;
  throw new TypeError(
    `feedForward: expected activation ${ACTIVATIONS.slice(1).join(", ")} but got "${name}"`,
  );
}

/** Throws a `TypeError` if the tensor, where there is one, has another shape. */
function checkShape(what: string, tensor: Tensor | undefined, shape: readonly number[]): void {
  if (!tensor || sameShape(tensor.shape, shape)) return;
  throw new TypeError(
    `feedForward: expected ${what} of shape ${formatShape(shape)} but got ${
      formatShape(tensor.shape)
    }`,
  );
}
