/**
 * Restoring saved state.
 *
 * @module
 */
import { BYTES } from "../device/dtype.ts";
import type { TypedArray } from "../device/dtype.ts";
import { assign } from "../tensor/create.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A tensor as a checkpoint holds it. */
export interface StoredTensor {
  /** The lengths of the axes. */
  readonly shape: readonly number[];
  /** The elements, a `Float32Array` for f32. */
  readonly data: ArrayBufferView;
}

/**
 * Copies saved values into live tensors of the same names and shapes. Throws an `Error` that lists missing names,
 * unknown names and mismatched shapes, before anything is overwritten.
 */
export function restoreTensors(
  what: string,
  live: ReadonlyMap<string, Tensor>,
  stored: ReadonlyMap<string, StoredTensor>,
): void {
  const missing = [...live.keys()].filter((name) => !stored.has(name));
  const foreign = [...stored.keys()].filter((name) => !live.has(name));
  if (missing.length || foreign.length) {
    const list = (names: string[]) =>
      names.slice(0, 5).map((name) => `"${name}"`).join(", ") +
      (names.length > 5 ? ` and ${names.length - 5} more` : "");
    throw new Error(
      `${what}: expected a saved state with the same names but got one that does not fit: ` + [
        missing.length ? `it lacks ${list(missing)}` : "",
        foreign.length ? `it has the foreign ${list(foreign)}` : "",
      ].filter((part) => part).join("; "),
    );
  }
  for (const [name, { shape, data }] of stored) {
    const target = live.get(name)!;
    if (!sameShape(shape, target.shape) || data.byteLength !== target.size * BYTES[target.dtype]) {
      throw new Error(
        `${what}: expected the saved "${name}" of shape ${
          formatShape(target.shape)
        } of ${target.dtype} but got ` +
          `${formatShape(shape)} of ${data.byteLength} bytes`,
      );
    }
  }
  for (const [name, { data }] of stored) assign(live.get(name)!, data as TypedArray);
}
