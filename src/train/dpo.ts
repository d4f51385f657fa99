/**
 * Direct preference optimisation.
 *
 * @module
 */
import { mul, sub } from "../ops/elementwise.ts";
import { softplus } from "../ops/activations.ts";
import { mean } from "../ops/reduce.ts";
import { reshape, slice } from "../ops/shape.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Options of {@linkcode dpoLoss}. */
export interface DPOOptions {
  /** How closely the model is held to the reference; larger values hold it closer. Default: 0.1. */
  readonly beta?: number | undefined;
}

/**
 * Returns the loss of direct preference optimisation (Rafailov et al. 2023), a scalar: the mean of `-log sigmoid(beta
 * ((chosen - rejected) - (chosenRef - rejectedRef)))` over pairs of answers. `policy` and `reference` (P, 2) hold the
 * log-probabilities of the answers (see `CausalLM.logProbs`), the better answer first, under the model being trained
 * and under the model as it was before; `reference` has no gradient.
 *
 * Throws a `TypeError` for other shapes, and a `RangeError` unless beta is above 0.
 *
 * @example A model that does not differ from the reference yet
 * ```ts
 * import { CpuDevice, dpoLoss, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logProbs = tensor([[-12, -9], [-7, -20]], { device });
 * using loss = dpoLoss(logProbs, logProbs);
 * assert(Math.abs(await loss.item() - Math.log(2)) < 1e-6);
 * ```
 */
export function dpoLoss(policy: Tensor, reference: Tensor, options?: DPOOptions): Tensor {
  const { beta = 0.1 } = options ?? {};
  if (!(beta > 0 && beta < Infinity)) {
    throw new RangeError(`dpoLoss: expected a beta above 0 but got ${beta}`);
  }
  const [pairs] = policy.shape;
  if (!sameShape(policy.shape, [pairs ?? -1, 2]) || !sameShape(reference.shape, policy.shape)) {
    throw new TypeError(
      `dpoLoss: expected policy and reference (pairs, 2) but got ${
        formatShape(policy.shape)
      } and ` +
        formatShape(reference.shape),
    );
  }
  return scoped(() => {
    const ratios = sub(policy, reference.detach());
    const side = (i: number) => reshape(slice(ratios, [[0, pairs!], [i, i + 1]]), [pairs!]);
    return mean(softplus(mul(sub(side(1), side(0)), beta))); // -log sigmoid(x) = softplus(-x)
  });
}
