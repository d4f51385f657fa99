/**
 * How a tensor of a foreign file becomes parameters of ours, and back.
 *
 * @module
 */
import type { Shape } from "../tensor/shape.ts";

/** A tensor of a foreign file, and the parameters that its numbers are. */
export interface StoredTensor {
  /** Its name in the file. */
  readonly name: string;
  /** Its shape in the file. */
  readonly shape: Shape;
  /** The names of the parameters that stand in it, one after the other, each as long as the others. */
  readonly parameters: readonly string[];
  /**
   * How the numbers are arranged in the file: as in the parameters where this is left out, as their transpose
   * (in, out), or with the rows of each of so many heads in half-split order, ours being interleaved.
   */
  readonly arranged?: "transposed" | { readonly halfSplitHeads: number };
}

/** The parameters' numbers out of the file's. */
export function fromStored(stored: StoredTensor, values: Float32Array): Float32Array[] {
  const { shape, parameters, arranged } = stored;
  const whole = arranged === undefined
    ? values
    : arranged === "transposed"
    ? transpose(values, shape[0], shape[1])
    : moveHeadRows(values, shape, arranged.halfSplitHeads, "interleaved");
  const length = whole.length / parameters.length;
  return parameters.map((_, i) => whole.subarray(i * length, (i + 1) * length));
}

/** The file's numbers out of the parameters'. */
export function toStored(stored: StoredTensor, parts: readonly Float32Array[]): Float32Array {
  const { shape, arranged } = stored;
  const whole = parts.length === 1 ? parts[0] : concatenate(parts);
  if (arranged === undefined) return whole;
  if (arranged === "transposed") return transpose(whole, shape[1], shape[0]);
  return moveHeadRows(whole, shape, arranged.halfSplitHeads, "half-split");
}

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Tiles of this width keep rows and columns in the cache. */
const TILE = 32;

/** (rows, columns) to (columns, rows). */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(top + TILE, rows);
    for (let left = 0; left < columns; left += TILE) {
      const right = Math.min(left + TILE, columns);
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          turned[column * rows + row] = values[row * columns + column];
        }
      }
    }
  }
  return turned;
}

/**
 * Rows of queries or keys brought from one order of rotary pairs to the other, within each head of D rows: pair i
 * is rows 2i and 2i + 1 where it is interleaved, rows i and i + D / 2 where it is half-split.
 */
function moveHeadRows(
  values: Float32Array,
  [rows, columns]: Shape,
  heads: number,
  to: "interleaved" | "half-split",
): Float32Array {
  const moved = new Float32Array(values.length);
  const size = rows / heads;
  for (let row = 0; row < rows; row++) {
    const within = row % size;
    const half = row - within + (within % 2) * size / 2 + (within >> 1);
    const [source, target] = to === "half-split" ? [row, half] : [half, row];
    moved.set(values.subarray(source * columns, (source + 1) * columns), target * columns);
  }
  return moved;
}
