/**
 * The weights of attention.
 *
 * @module
 */
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AttentionOptions } from "./attention.ts";
import { storedWeights } from "./stored_weights.ts";

/**
 * The weights (B, H, Tq, Tk) with which `attention` of the same arguments mixes the values, Tk being keyLength
 * where there is one; zeros where a query may see no key. All of them are stored: for pictures and for gradients
 * through the weights. Throws a `TypeError` when the shapes do not fit.
 */
export function attentionWeights(q: Tensor, k: Tensor, options: AttentionOptions = {}): Tensor {
  return scoped(() => {
    const sight = options.causal ? (position: number, key: number) => key <= position : null;
    return storedWeights("attentionWeights", q, k, options, [sight])[0];
  });
}
