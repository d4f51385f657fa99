/**
 * Sinusoids of positions.
 *
 * @module
 */
import { type CreateOptions, tensor } from "../tensor/create.ts";
import { checkShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { rotaryFrequencies, type RotaryScaling } from "./rotary_frequencies.ts";

/** Options of {@linkcode sinusoidTable}. */
export interface SinusoidOptions {
  /** How slowly the last pair turns: pair i by `theta^(-2i/D)` a position. Default: 10,000. */
  readonly theta?: number;
  /** Slows some of the pairs down. Default: `null`. */
  readonly scaling?: RotaryScaling | null;
}

/**
 * Cosines and sines of positions 0 to `length - 1`, (length, D) in row-major order: column 2i holds
 * `cos(p * theta^(-2i/D))`, column 2i + 1 the sine of the same angle (after Vaswani et al., 2017, who have
 * the sine first). Worked out in float64, since a GPU's sine of a large angle is off.
 *
 * Throws a `RangeError` for lengths that are no whole numbers, an odd width, or a theta that is not
 * positive.
 *
 * @example The first position is turned by nothing
 * ```ts
 * import { sinusoidTable } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...sinusoidTable(1, 4)], [1, 0, 1, 0]);
 * ```
 */
export function sinusoidTable(
  length: number,
  width: number,
  options: SinusoidOptions = {},
): Float32Array<ArrayBuffer> {
  const { theta = 10000, scaling } = options;
  checkShape("sinusoidTable", [length, width]);
  const table = new Float32Array(length * width);
  rotaryFrequencies(width, theta, scaling).forEach((frequency, pair) => {
    for (let position = 0; position < length; position++) {
      const at = position * width + 2 * pair;
      table[at] = Math.cos(position * frequency);
      table[at + 1] = Math.sin(position * frequency);
    }
  });
  return table;
}

/** {@linkcode sinusoidTable} as a tensor (length, width), which embeddings of positions are read from. */
export function sinusoid(
  length: number,
  width: number,
  options: SinusoidOptions & CreateOptions = {},
): Tensor {
  return tensor(sinusoidTable(length, width, options), {
    dtype: options.dtype,
    device: options.device,
    shape: [length, width],
  });
}
