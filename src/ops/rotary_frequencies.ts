/**
 * How fast the pairs of a head turn with the position.
 *
 * @module
 */

/** How a model that was trained on short sequences is made to read longer ones. */
export type RotaryScaling =
  /** All positions are divided by `factor` (Chen et al. 2023, "Position Interpolation"). */
  | { readonly type: "linear"; readonly factor: number }
  /**
   * LLaMA 3.1's: pairs that turn less than `lowFrequencyFactor` times in the original context turn `factor` times
   * slower, those that turn more than `highFrequencyFactor` times as before, and those between in between
   * (Grattafiori et al. 2024, "The Llama 3 Herd of Models"; the formula is that of Meta's `apply_scaling`).
   */
  | {
    readonly type: "llama3";
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalContextSize: number;
  };

/**
 * Radians a position by which each of the `width / 2` pairs of a head turns: `theta^(-2i/width)`, scaled.
 *
 * Throws a `RangeError` for an odd width, and for a theta or numbers of the scaling that make no sense.
 *
 * @example
 * ```ts
 * import { rotaryFrequencies } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(rotaryFrequencies(4, 100), [1, 0.1]);
 * assert.deepEqual(rotaryFrequencies(4, 100, { type: "linear", factor: 2 }), [0.5, 0.05]);
 * ```
 */
export function rotaryFrequencies(
  width: number,
  theta: number,
  scaling: RotaryScaling | null = null,
): number[] {
  if (width % 2 !== 0) throw new RangeError(`rotary: expected an even width but got ${width}`);
  if (!(theta > 0)) throw new RangeError(`rotary: expected a positive theta but got ${theta}`);
  checkScaling(scaling);
  return Array.from({ length: width / 2 }, (_, i) => scaled(theta ** (-2 * i / width), scaling));
}

function scaled(frequency: number, scaling: RotaryScaling | null): number {
  if (!scaling) return frequency;
  const slow = frequency / scaling.factor;
  if (scaling.type === "linear") return slow;
  const turns = scaling.originalContextSize * frequency / (2 * Math.PI);
  const { lowFrequencyFactor: low, highFrequencyFactor: high } = scaling;
  const share = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return (1 - share) * slow + share * frequency;
}

function checkScaling(scaling: RotaryScaling | null): void {
  if (!scaling) return;
  const { type: _, ...numbers } = scaling;
  const positive = Object.values(numbers).every((value) => value > 0 && value < Infinity);
  const ordered = scaling.type === "linear" ||
    scaling.lowFrequencyFactor < scaling.highFrequencyFactor;
  if (positive && ordered) return;
  throw new RangeError(
    `rotary: expected a scaling by positive numbers, the low frequency factor below the high one, but got ${
      JSON.stringify(scaling)
    }`,
  );
}
