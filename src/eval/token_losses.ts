/**
 * The loss of each single token.
 *
 * @module
 */
import { crossEntropy } from "../../kernels/rows/cross_entropy.ts";
import { checkTargets, crossEntropyParams } from "../ops/loss.ts";
import { noGrad } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";

/** Targets of this value have a loss of 0. */
export const IGNORED = -100;

/**
 * Returns the cross-entropy in nats of each target (...) given its logits (..., V), a tensor (...) of `f32` on the
 * device; 0 where the target is {@linkcode IGNORED}. It has no gradient.
 */
export function tokenLosses(logits: Tensor, targets: Tensor): Tensor {
  const rows = checkTargets("tokenLosses", logits, targets);
  const params = crossEntropyParams("tokenLosses", rows, logits.shape.at(-1)!, {
    ignoreIndex: IGNORED,
  });
  return noGrad(() => {
    const loss = Tensor.empty(logits.device, targets.shape);
    logits.device.launch(crossEntropy, { logits, targets, loss }, params);
    return loss;
  });
}
