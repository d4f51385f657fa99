/**
 * How the values of a parameter are arranged in a file.
 *
 * @module
 */
import type { Shape } from "../tensor/shape.ts";

/**
 * A matrix (out, in) stored as its transpose (in, out), or with the rows of each head in half-split order if the model
 * has them interleaved, or the other way round; or with a number added to all elements.
 */
export type Arrangement =
  | "transposed"
  | { readonly halfSplitHeads: number }
  | { readonly interleavedHeads: number }
  | { readonly added: number };

/** Returns the shape in the file of a parameter of a given shape. */
export function storedShape(shape: Shape, arrangement: Arrangement | undefined): Shape {
  return arrangement === "transposed" ? shape.toReversed() : shape;
}

/** Returns a parameter's values, in the shape that it has in the model, from the file's. */
export function fromStored(
  values: Float32Array,
  shape: Shape,
  arrangement: Arrangement | undefined,
): Float32Array {
  if (arrangement === undefined) return values;
  if (arrangement === "transposed") return transpose(values, shape[1]!, shape[0]!);
  if ("added" in arrangement) return values.map((value) => value - arrangement.added);
  if ("halfSplitHeads" in arrangement) {
    return moveHeadRows(values, shape, arrangement.halfSplitHeads, "interleaved");
  }
  return moveHeadRows(values, shape, arrangement.interleavedHeads, "half-split");
}

/** Returns the file's values from a parameter's, in the shape that it has in the model. */
export function toStored(
  values: Float32Array,
  shape: Shape,
  arrangement: Arrangement | undefined,
): Float32Array {
  if (arrangement === undefined) return values;
  if (arrangement === "transposed") return transpose(values, shape[0]!, shape[1]!);
  if ("added" in arrangement) return values.map((value) => value + arrangement.added);
  if ("halfSplitHeads" in arrangement) {
    return moveHeadRows(values, shape, arrangement.halfSplitHeads, "half-split");
  }
  return moveHeadRows(values, shape, arrangement.interleavedHeads, "interleaved");
}

/** Tiles of this width keep rows and columns in the cache. */
const TILE = 32;

/** Transposes (rows, columns) to (columns, rows). */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(top + TILE, rows);
    for (let left = 0; left < columns; left += TILE) {
      const right = Math.min(left + TILE, columns);
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          turned[column * rows + row] = values[row * columns + column]!;
        }
      }
    }
  }
  return turned;
}

/**
 * Permutes rows of queries or keys from one order of rotary pairs to the other, within each head of D rows: pair i is
 * rows 2i and 2i + 1 if interleaved, and rows i and i + D / 2 if half-split.
 */
function moveHeadRows(
  values: Float32Array,
  shape: Shape,
  heads: number,
  to: "interleaved" | "half-split",
): Float32Array {
  const moved = new Float32Array(values.length);
  const [rows, columns] = shape as [number, number];
  const size = rows / heads;
  for (let row = 0; row < rows; row++) {
    const within = row % size;
    const half = row - within + (within % 2) * size / 2 + (within >> 1);
    const [source, target] = to === "half-split" ? [row, half] : [half, row];
    moved.set(values.subarray(source * columns, (source + 1) * columns), target * columns);
  }
  return moved;
}
