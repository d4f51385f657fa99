/**
 * Layer normalisation with its parameters.
 *
 * @module
 */
import { layerNorm } from "../ops/layer_norm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Parameters } from "./parameters.ts";

/** Layer normalisation over the last axis (Ba et al. 2016, https://arxiv.org/abs/1607.06450). */
export class LayerNorm {
  /** (size), starts at 1. */
  readonly weight: Tensor;
  /** (size), starts at 0. */
  readonly bias: Tensor;

  /** Creates `weight` and `bias`; `eps` is added to the variance. */
  constructor(parameters: Parameters, size: number, readonly eps = 1e-5) {
    this.weight = parameters.create("weight", [size], { value: 1 });
    this.bias = parameters.create("bias", [size], { value: 0 });
  }

  /** (..., size) to the same shape. */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps });
  }
}
