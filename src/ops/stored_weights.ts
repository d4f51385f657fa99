/**
 * The weights of attention with all of them stored, for `attentionWeights` and `sparseAttentionWeights`.
 *
 * @module
 */
import { arange, tensor } from "../tensor/create.ts";
import { formatShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { checkKeyLength, checkKeyValid, checkPositions } from "./attend.ts";
import type { AttentionOptions } from "./attention.ts";
import { checkRank, sameDevice } from "./check.ts";
import { equal } from "./compare.ts";
import { embedding } from "./embedding.ts";
import { matmul } from "./matmul.ts";
import { permute } from "./permute.ts";
import { reshape } from "./reshape.ts";
import { slice } from "./slice.ts";
import { softmax } from "./softmax.ts";
import { maskedFill } from "./where.ts";

/** The score of a key that may not be seen; finite, so that a row of them gives no NaN. */
const HIDDEN = -1e30;

/** Whether a query at a position sees a key. */
export type Sight = (position: number, key: number) => boolean;

/**
 * For every kind of sight (null: all keys) the weights (B, H, Tq, Tk) of q and k. Makes tensors that the caller's
 * scope frees. Throws a `TypeError` when the shapes do not fit.
 */
export function storedWeights(
  op: string,
  q: Tensor,
  k: Tensor,
  options: AttentionOptions,
  sights: readonly (Sight | null)[],
): Tensor[] {
  const { keyValid, positions, layout = "BHTD" } = options;
  const device = sameDevice(op, q, k, keyValid, positions);
  checkRank(op, q, 4, "q with four axes");
  checkRank(op, k, 4, "k with four axes");
  const inOrder = (x: Tensor) => layout === "BHTD" ? x : permute(x, [0, 2, 1, 3]);
  const [queries, all] = [inOrder(q), inOrder(k)];
  const [batch, heads, time, size] = queries.shape;
  const [keyBatch, kvHeads, capacity, keySize] = all.shape;
  if (heads % kvHeads !== 0 || keyBatch !== batch || keySize !== size) {
    throw new TypeError(
      `${op}: q ${formatShape(q.shape)} and k ${formatShape(k.shape)} do not fit`,
    );
  }
  const length = checkKeyLength(op, options.keyLength, capacity);
  const keys = length < capacity ? slice(all, [[0], [0], [0, length]]) : all;
  if (positions) checkPositions(op, positions, batch, !sights.includes(null));

  // Heads that share keys stand together, as rows of one product.
  const grouped = reshape(queries, [batch, kvHeads, heads / kvHeads * time, size]);
  const { scale = 1 / Math.sqrt(size) } = options;
  const product = mul(matmul(grouped, keys, { transposeB: true }), scale);
  const scores = reshape(product, [batch, heads, time, length]);

  let padding: Tensor | undefined;
  if (keyValid) {
    checkKeyValid(op, keyValid, batch, length, capacity);
    const flags = keyValid.shape[1] > length ? slice(keyValid, [[0], [0, length]]) : keyValid;
    padding = reshape(equal(flags, 0), [batch, 1, 1, length]);
  }

  /** What each query may not see: (Tq, Tk), or (B, 1, Tq, Tk) where the sequences have their own positions. */
  const hidden = (sees: Sight): Tensor => {
    const table = (first: number, count: number): Tensor => {
      const flags = Float32Array.from(
        { length: count * length },
        (_, i) => Number(!sees(first + Math.floor(i / length), i % length)),
      );
      return tensor(flags, { shape: [count, length], device });
    };
    if (!positions) return table(length - time, time);
    const ids = add(reshape(positions, [batch, 1]), arange(time, { device }));
    return reshape(embedding(table(0, length + time), ids), [batch, 1, time, length]);
  };

  return sights.map((sees) => {
    const masks = [...padding ? [padding] : [], ...sees ? [hidden(sees)] : []];
    const hide = (x: Tensor, value: number) =>
      masks.reduce((y, mask) => maskedFill(y, mask, value), x);
    return hide(softmax(hide(scores, HIDDEN)), 0);
  });
}
