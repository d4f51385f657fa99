/**
 * The affine map.
 *
 * @module
 */
import { linear } from "../ops/linear.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Initial, Parameters } from "./parameters.ts";

/** Options of {@linkcode Linear}. */
export interface LinearOptions {
  /** Whether there is a `bias`. Default: true. */
  readonly bias?: boolean;
  /** How `weight` starts; `bias` starts at 0. Default: normal with std 0.02. */
  readonly initial?: Initial;
}

/** `y = x weight^T + bias`, with `weight` (outputs, inputs) and `bias` (outputs). */
export class Linear {
  /** (outputs, inputs) */
  readonly weight: Tensor;
  /** (outputs) */
  readonly bias: Tensor | undefined;

  /** Creates `weight` and `bias`. */
  constructor(
    parameters: Parameters,
    inputs: number,
    outputs: number,
    { bias = true, initial = { std: 0.02 } }: LinearOptions = {},
  ) {
    this.weight = parameters.create("weight", [outputs, inputs], initial);
    this.bias = bias ? parameters.create("bias", [outputs], { value: 0 }) : undefined;
  }

  /** (..., inputs) to (..., outputs); `residual` (..., outputs) is added where it is given. */
  forward(x: Tensor, residual?: Tensor): Tensor {
    return linear(x, this.weight, this.bias, { residual });
  }
}
