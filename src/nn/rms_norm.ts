/**
 * Root mean square normalisation with its parameter.
 *
 * @module
 */
import { rmsNorm } from "../ops/rms_norm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Parameters } from "./parameters.ts";

/** Root mean square normalisation over the last axis (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467). */
export class RMSNorm {
  /** (size), starts at 1. */
  readonly weight: Tensor;

  /** Creates `weight`; `eps` is added to the mean square. */
  constructor(parameters: Parameters, size: number, readonly eps = 1e-5) {
    this.weight = parameters.create("weight", [size], { value: 1 });
  }

  /** (..., size) to the same shape. */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, { eps: this.eps });
  }
}
