/**
 * Stochastic gradient descent.
 *
 * @module
 */
import { sgd } from "../../kernels/optimizer/sgd.ts";
import { Optimizer, type OptimizerOptions, type Run, type Update } from "./optimizer.ts";
import type { NamedParameters } from "./parameters.ts";

/** Options of {@linkcode SGD}. */
export interface SGDOptions extends OptimizerOptions {
  /** The fraction of the velocity that is kept; 0 keeps no velocity. Default: 0. */
  readonly momentum?: number;
  /** Whether to use Nesterov momentum. Default: false. */
  readonly nesterov?: boolean;
  /** The fraction of a parameter that is added to its gradient. Default: 0. */
  readonly weightDecay?: number;
}

/**
 * Stochastic gradient descent, as in PyTorch: `g += weightDecay p`, `velocity = momentum velocity + g`,
 * `p -= lr velocity`. (Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".)
 */
export class SGD extends Optimizer {
  readonly #momentum: number;
  readonly #nesterov: boolean;

  /** Throws a `RangeError` for options out of range, and a `TypeError` for parameters that cannot be trained. */
  constructor(parameters: NamedParameters, options?: SGDOptions) {
    const { lr = 1e-3, momentum = 0, nesterov = false, weightDecay = 0, groups = [] } = options ??
      {};
    const method = { averages: momentum ? ["velocity"] : [], weightDecay };
    super("SGD", parameters, () => method, { lr, groups });
    if (!(momentum >= 0 && momentum < 1) || (nesterov && momentum === 0)) {
      throw new RangeError(
        `SGD: expected a momentum from 0 to below 1, above 0 with nesterov, but got ${momentum}`,
      );
    }
    this.#momentum = momentum;
    this.#nesterov = nesterov;
  }

  /** Launches the update. */
  protected override update(
    { bindings, count, lr, weightDecay }: Run,
    { gradScale }: Update,
  ): void {
    this.device.launch(sgd, { ...bindings, gradScale }, {
      ...{ count, lr, weightDecay },
      momentum: this.#momentum,
      nesterov: this.#nesterov ? 1 : 0,
    });
  }
}
