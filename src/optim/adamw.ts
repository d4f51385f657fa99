/**
 * Adam and AdamW.
 *
 * @module
 */
import { AdamWUpdate } from "./adamw_update.ts";
import { Optimizer, type OptimizerOptions, type Run, type Update } from "./optimizer.ts";
import type { NamedParameters } from "./parameters.ts";

/** Options of {@linkcode Adam}. */
export interface AdamOptions extends Omit<OptimizerOptions, "weightDecay"> {
  /** The decay rates of the moving averages of gradients and of their squares. Default: 0.9 and 0.999. */
  readonly betas?: readonly [number, number];
  /** Added to the square root of the second average. Default: 1e-8. */
  readonly eps?: number;
}

/** Options of {@linkcode AdamW}. */
export interface AdamWOptions extends AdamOptions {
  /** The weight decay; a step multiplies it by the learning rate. Default: 0.01. */
  readonly weightDecay?: number;
}

/**
 * The AdamW optimizer: Adam with decoupled weight decay, which by default applies to matrices only (two or more axes,
 * embeddings included). A step is `p -= lr weightDecay p`, then `p -= lr mHat / (sqrt(vHat) + eps)`. (Loshchilov and
 * Hutter 2019, "Decoupled Weight Decay Regularization".)
 *
 * f16 parameters are updated through f32 master copies, which are part of the state.
 *
 * @example Find the lowest point of a parabola
 * ```ts
 * import { AdamW, CpuDevice, mul, scoped, sum, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const x = tensor([3, -2], { device });
 * x.requiresGrad = true;
 * using optimizer = new AdamW({ x }, { lr: 0.1 });
 * for (let step = 0; step < 200; step++) {
 *   scoped(() => sum(mul(x, x)).backward());
 *   optimizer.step();
 *   optimizer.zeroGrad();
 * }
 * assert((await x.data()).every((value) => Math.abs(value) < 0.01));
 * ```
 */
export class AdamW extends Optimizer {
  readonly #adamW: AdamWUpdate;

  /** Throws a `RangeError` for options out of range, and a `TypeError` for parameters that cannot be trained. */
  constructor(parameters: NamedParameters, options?: AdamWOptions) {
    const { lr = 1e-3, groups = [], weightDecay = 0.01 } = options ?? {};
    const adamW = new AdamWUpdate("AdamW", options);
    super("AdamW", parameters, (_, parameter) => adamW.method(parameter, weightDecay), {
      ...{ lr, groups, betas: adamW.betas },
    });
    this.#adamW = adamW;
  }

  /** Launches the update. */
  protected override update(run: Run, update: Update): void {
    this.#adamW.launch(this.device, run, update);
  }
}

/** The Adam optimizer, without weight decay. (Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization".) */
export class Adam extends AdamW {
  /** Throws like {@linkcode AdamW}. */
  constructor(parameters: NamedParameters, options?: AdamOptions) {
    super(parameters, { ...options, weightDecay: 0 });
  }
}
