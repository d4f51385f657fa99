/**
 * The two ends of a sequence model: the positions of its tokens, and the last token of each row.
 *
 * @module
 */
import { embedding } from "../ops/index.ts";
import { reshape, slice } from "../ops/shape.ts";
import { tensor } from "../tensor/create.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NewPositions } from "./key_value_cache.ts";

/**
 * The rows of a table (positions, E) for `length` new tokens: (length, E), or (B, 1, E) where the sequences differ, or
 * (B, length, E) where they consist of documents.
 */
export function positionRows(
  table: Tensor,
  length: number,
  { position, positions }: NewPositions,
): Tensor {
  if (positions?.shape.length === 2) return embedding(table, positions);
  if (positions) return embedding(table, reshape(positions, [positions.size, 1]));
  return slice(table, [[position, position + length]]);
}

/** The last token of each row of `x` (B, T, E), (B, E): at `lengths` - 1 if the rows are padded on the right. */
export function lastTokens(x: Tensor, lengths?: readonly number[]): Tensor {
  const [batch, time, size] = x.shape as [number, number, number];
  if (!lengths) {
    return reshape(slice(x, [[0, batch], [time - 1, time]]), [batch, size]);
  }
  const rows = lengths.map((length, b) => b * time + length - 1);
  return embedding(
    reshape(x, [batch * time, size]),
    tensor(Int32Array.from(rows), { device: x.device }),
  );
}
