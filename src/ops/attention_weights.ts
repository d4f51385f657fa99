/**
 * The weights of attention.
 *
 * @module
 */
import { arange } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { mul } from "./arithmetic.ts";
import { type AttentionOptions, checkKeyLength, checkKeyValid } from "./attention.ts";
import { checkRank } from "./check.ts";
import { equal, less } from "./compare.ts";
import { matmul } from "./matmul.ts";
import { permute } from "./permute.ts";
import { reshape } from "./reshape.ts";
import { slice } from "./slice.ts";
import { softmax } from "./softmax.ts";
import { maskedFill } from "./where.ts";

/** The score of a key that may not be seen; finite, so that a row of them gives no NaN. */
const HIDDEN = -1e30;

/**
 * The weights (B, H, Tq, Tk) with which `attention` of the same arguments mixes the values; zeros where a query
 * may see no key. All of them are stored: for pictures and for gradients through the weights. Throws a
 * `TypeError` when the shapes do not fit.
 */
export function attentionWeights(q: Tensor, k: Tensor, options: AttentionOptions = {}): Tensor {
  const { causal = false, keyValid, layout = "BHTD" } = options;
  checkRank("attentionWeights", q, 4, "q with four axes");
  checkRank("attentionWeights", k, 4, "k with four axes");
  return scoped(() => {
    const inOrder = (x: Tensor) => layout === "BHTD" ? x : permute(x, [0, 2, 1, 3]);
    const capacity = k.shape[layout === "BHTD" ? 2 : 1];
    const existing = checkKeyLength("attentionWeights", options.keyLength, capacity);
    const all = inOrder(k);
    const queries = inOrder(q);
    const keys = existing < capacity ? slice(all, [[0], [0], [0, existing]]) : all;
    const [batch, heads, time, size] = queries.shape;
    const [keyBatch, kvHeads, length, keySize] = keys.shape;
    if (heads % kvHeads !== 0 || keyBatch !== batch || keySize !== size) {
      throw new TypeError(
        `attentionWeights: q ${formatShape(q.shape)} and k ${formatShape(k.shape)} do not fit`,
      );
    }
    // Heads that share keys stand together, as rows of one product.
    const grouped = reshape(queries, [batch, kvHeads, heads / kvHeads * time, size]);
    const { scale = 1 / Math.sqrt(size) } = options;
    const product = mul(matmul(grouped, keys, { transposeB: true }), scale);
    const scores = reshape(product, [batch, heads, time, length]);
    const masks: Tensor[] = [];
    if (causal) {
      const { device } = q;
      const last = reshape(arange(time, { start: length - time, device }), [time, 1]);
      masks.push(less(last, arange(length, { device })));
    }
    if (keyValid) {
      checkKeyValid("attentionWeights", keyValid, batch, length, capacity);
      const flags = keyValid.shape[1] > length ? slice(keyValid, [[0], [0, length]]) : keyValid;
      masks.push(reshape(equal(flags, 0), [batch, 1, 1, length]));
    }
    const hide = (x: Tensor, value: number) =>
      masks.reduce((y, mask) => maskedFill(y, mask, value), x);
    return hide(softmax(hide(scores, HIDDEN)), 0);
  });
}
