/**
 * Rotary position embedding.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import pairwise from "./rotary.wgsl" with { type: "text" };
import vectors from "./rotary_vector.wgsl" with { type: "text" };

/** Parameters of {@linkcode rotary}. */
export type RotaryParams = {
  /** The heads of all positions of all sequences, B * T * H. */
  rows: number;
  /** The positions of a sequence, T. */
  length: number;
  /** The number of heads, H. */
  heads: number;
  /** The size of a head, D; even. */
  width: number;
  /** How many elements of a head are rotated, R, counted from the first; even. */
  turned: number;
  /** The position of the first of the T, unless `positions` is given. */
  position: number;
  /** The rows of `turns`. */
  tableRows: number;
  /** The index of the first row of x, if a launch is split. */
  firstRow: number;
  /** 1, or -1 to rotate back, which is the gradient. */
  direction: number;
  /** 1 when the pairs are (i, i + R/2), 0 when they are (2i, 2i + 1). */
  halfSplit: number;
};

/** Throws a `RangeError` if a sequence extends beyond the table. */
function checkPositions(positions: Int32Array, { length, tableRows }: RotaryParams): void {
  const row = positions.findIndex((position) => position < 0 || position + length > tableRows);
  if (row < 0) return;
  throw new RangeError(
    `rotary: expected ${length} positions within ${tableRows} but got those from ${
      positions[row]
    } on in row ${row}`,
  );
}

/**
 * y (B, T, H, D) = x with the pairs of each head rotated by the angles of its position. turns (tableRows, D) holds
 * the cosine of pair i in column 2i and its sine in column 2i + 1; if fewer than D elements are rotated, its last
 * columns are not read. If the sequences are at different positions, positions (B) of `i32` holds the position of the
 * first of the T of each. A position beyond the table throws a `RangeError` on the CPU and gives NaN on a GPU, which
 * cannot throw.
 */
export const rotary: Kernel<RotaryParams> = kernel<RotaryParams>({
  name: "rotary",
  bindings: {
    x: { read: "rows width" },
    turns: { read: "tableRows width", dtype: "f32" },
    positions: { read: "*", dtype: "i32", optional: true },
    y: { write: "rows width" },
  },
  params: {
    rows: "u32",
    length: "u32",
    heads: "u32",
    width: "u32",
    turned: "u32",
    position: "u32",
    tableRows: "u32",
    firstRow: "u32",
    direction: "f32",
    halfSplit: "u32",
  },
  gpu({ rows, width, turned, halfSplit }) {
    const unit = halfSplit ? 8 : 4;
    const vec4 = width % unit === 0 && turned % unit === 0 && "width";
    const steps = vec4 ? width / (halfSplit ? 8 : 4) : width / 2;
    return {
      wgsl: vec4 ? vectors : pairwise,
      vec4,
      constants: { HALF_SPLIT: halfSplit === 1 },
      workgroups: Math.ceil(rows * steps / 64),
    };
  },
  cpu({ x, turns, positions, y }, params) {
    const { rows, length, heads, width, turned, position, firstRow, direction, halfSplit } = params;
    if (positions) checkPositions(positions, params);
    const pairs = turned / 2;
    const [step, distance] = halfSplit ? [1, pairs] : [2, 1];
    for (let row = 0; row < rows; row++) {
      const time = Math.floor((firstRow + row) / heads);
      const first = positions ? positions[Math.floor(time / length)] : position;
      const turn = (first + time % length) * width;
      for (let pair = 0; pair < pairs; pair++) {
        const cos = turns[turn + 2 * pair];
        const sin = turns[turn + 2 * pair + 1] * direction;
        const at = row * width + pair * step;
        const a = x[at], b = x[at + distance];
        y[at] = a * cos - b * sin;
        y[at + distance] = a * sin + b * cos;
      }
      for (let i = turned; i < width; i++) y[row * width + i] = x[row * width + i];
    }
  },
  simd(job) {
    const { at, params } = job;
    const { rows, length, heads, width, turned, position, firstRow, direction, halfSplit } = params;
    if (at.positions) {
      const { buffer } = job.memory;
      const sequences = Math.ceil((firstRow + rows) / (length * heads));
      checkPositions(new Int32Array(buffer, at.positions, sequences), params);
    }
    const chunk = Math.max(1, Math.floor(16384 / width));
    // deno-fmt-ignore
    job.run("rotary", rows, chunk, at.x!, at.turns!, at.positions!, at.y!, firstRow, length, heads, width, turned, position,
      direction, halfSplit);
    return true;
  },
  split: "rows",
  splitStart: "firstRow",
});
