/**
 * What `crossEntropy` and `linearCrossEntropy` share.
 *
 * @module
 */
import type { CrossEntropyParams } from "../../kernels/rows/cross_entropy.ts";
import { crossEntropyMean } from "../../kernels/rows/cross_entropy_mean.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkIds } from "./check.ts";

/** Options of `crossEntropy` and `linearCrossEntropy`. */
export interface CrossEntropyOptions {
  /** Rows with this target count for nothing, as those that only pad. Default: -100. */
  readonly ignoreIndex?: number;
  /**
   * The part of the target distribution, 0 to 1, that is spread over all classes (Szegedy et al., 2016).
   * Default: 0.
   */
  readonly labelSmoothing?: number;
}

/** Adds up the losses of rows, times `scale` (1), and disposes of them. */
export function meanLoss(losses: Tensor, scale: Tensor): Tensor {
  const { device } = losses;
  const mean = Tensor.empty(device, []);
  device.launch(crossEntropyMean, { loss: losses, scale, mean }, { rows: losses.size });
  losses.dispose();
  return mean;
}

/** The number of rows of `x` (..., columns), each of which has its target. Throws a `TypeError`. */
export function checkTargets(op: string, x: Tensor, targets: Tensor): number {
  checkIds(op, targets);
  if (x.shape.length === 0 || !sameShape(x.shape.slice(0, -1), targets.shape)) {
    throw new TypeError(
      `${op}: expected a target for each row of shape ${formatShape(x.shape)}, so of shape ` +
        `${formatShape(x.shape.slice(0, -1))}, but got ${formatShape(targets.shape)}`,
    );
  }
  return targets.size;
}

/** The kernels' parameters from the options. Throws a `RangeError`. */
export function crossEntropyParams(
  op: string,
  rows: number,
  classes: number,
  options: CrossEntropyOptions,
): CrossEntropyParams {
  const { ignoreIndex = -100, labelSmoothing = 0 } = options;
  if (classes === 0) throw new RangeError(`${op}: expected at least one class but got none`);
  if (!Number.isInteger(ignoreIndex) || Math.abs(ignoreIndex) >= 2 ** 31) {
    throw new RangeError(`${op}: expected a whole number to ignore but got ${ignoreIndex}`);
  }
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new RangeError(`${op}: expected label smoothing from 0 to 1 but got ${labelSmoothing}`);
  }
  return { rows, classes, ignoreIndex, smoothing: labelSmoothing };
}
