/**
 * The check a model makes of its tokens before it launches anything.
 *
 * @module
 */
import { formatShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Throws a `TypeError` unless ids are (B, T), and a `RangeError` if there are no sequences or if they are empty or
 * longer than the context. `what` names the caller, and the ids where there are several.
 */
export function checkTokens(what: string, ids: Tensor, maxLength: number): void {
  const shape = formatShape(ids.shape);
  if (ids.shape.length !== 2) {
    throw new TypeError(`${what}: expected ids of shape [B, T] but got ${shape}`);
  }
  if (ids.size === 0) {
    throw new RangeError(`${what}: expected one token or more but got ids of shape ${shape}`);
  }
  if (ids.shape[1]! > maxLength) {
    throw new RangeError(
      `${what}: expected sequences of at most ${maxLength} tokens but got ids of shape ${shape}`,
    );
  }
}
