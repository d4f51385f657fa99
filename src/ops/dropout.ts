/**
 * Dropout.
 *
 * @module
 */
import { dropout as dropoutKernel } from "../../kernels/sampling/dropout.ts";
import { defaultRandom, type RandomState } from "../tensor/random.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat } from "./check.ts";

/** Options of {@linkcode dropout}. */
export interface DropoutOptions {
  /** The stream to draw from; default: the shared one (see `manualSeed`). */
  readonly random?: RandomState;
}

/**
 * Sets each element to 0 with probability `p` and divides the others by 1 - p, for training. No mask is stored:
 * the gradient draws the same numbers again. Throws a `RangeError` unless p is in [0, 1). (Srivastava et al.
 * 2014.)
 */
export function dropout(x: Tensor, p: number, options: DropoutOptions = {}): Tensor {
  checkFloat("dropout", x);
  if (!(p >= 0 && p < 1)) throw new RangeError(`dropout: expected p in [0, 1) but got ${p}`);
  const { random = defaultRandom() } = options;
  const params = { count: x.size, ...random.draw(x.size), first: 0, p };
  const drop = (from: Tensor): Tensor => {
    const y = Tensor.empty(from.device, from.shape, from.dtype);
    from.device.launch(dropoutKernel, { x: from, y }, params);
    return y;
  };
  return record("dropout", [x], drop(x), [], (dOut) => [drop(dOut)]);
}
