/**
 * Positions: rotary embeddings and tables of sinusoids.
 *
 * @module
 */
import { rotary as rotaryKernel } from "../../kernels/attention/rotary.ts";
import type { Device } from "../device/device.ts";
import { isFloat } from "../device/dtype.ts";
import { type CreateOptions, tensor } from "../tensor/create.ts";
import { unscoped } from "../tensor/scope.ts";
import { checkShape, formatShape, sameShape } from "../tensor/shape.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkRank, sameDevice } from "./check.ts";

/** Options of {@linkcode rotary}. */
export interface RotaryOptions {
  /** The base of the frequencies: pair i rotates by `theta^(-2i/D)` radians per position. Default: 10,000. */
  readonly theta?: number;
  /** Slows some of the pairs down, as in LLaMA 3.1. Default: `null`. */
  readonly scaling?: RotaryScaling | null;
  /** The number of elements of each head, from its start, that are rotated; even. Default: all. */
  readonly turned?: number;
  /**
   * The position of the first of the T time steps, for example where a cache holds the earlier ones; with `positions`,
   * the largest of them. Default: 0.
   */
  readonly position?: number;
  /**
   * The position of the first time step in each row, (B) of `i32`, where the rows of a batch differ; or that of every
   * time step, (B, T), below T.
   */
  readonly positions?: Tensor | undefined;
  /**
   * Which elements form a pair: `interleaved` is (2i, 2i + 1), as in the paper and in Meta's LLaMA files; `half-split`
   * is (i, i + R/2) of the R rotated elements, as in Hugging Face's files. Default: `interleaved`.
   */
  readonly layout?: "interleaved" | "half-split";
}

/**
 * Rotary position embedding (Su et al., 2021): rotates each pair of elements of the heads of x (B, T, H, D) by an angle
 * proportional to its position, `position + t` (or `positions[b] + t`, or `positions[b][t]`), so that products of queries and keys depend on
 * their distance. Returns the same shape.
 *
 * Cosines and sines come from a table computed in float64, which the device keeps.
 *
 * Throws a `TypeError` unless x has four axes of floats and `positions` is (B) or (B, T) of `i32`, and a `RangeError` if D is odd
 * or `turned`, `position` or `theta` is out of range. One of `positions` far above `position` throws a `RangeError` on
 * the CPU and gives NaN on a GPU.
 *
 * @example The first position stays, the second is turned by 1 radian
 * ```ts
 * import { CpuDevice, rotary, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([[[[1, 0]], [[1, 0]]]], { device });
 * using y = rotary(x);
 * const [a, b, c, d] = await y.data();
 * assert.deepEqual([a, b], [1, 0]);
 * assert.ok(Math.abs(c - Math.cos(1)) < 1e-6 && Math.abs(d - Math.sin(1)) < 1e-6);
 * ```
 */
export function rotary(x: Tensor, options?: RotaryOptions): Tensor {
  const { theta = 10000, scaling = null, position = 0, positions } = options ?? {};
  const { layout = "interleaved" } = options ?? {};
  checkFloat("rotary", x);
  checkRank("rotary", x, 4, "(batch, positions, heads, width)");
  const [batch, length, heads, width] = x.shape as [number, number, number, number];
  if (width % 2 !== 0) {
    throw new RangeError(
      `rotary: expected heads of even width but got x of shape ${formatShape(x.shape)}`,
    );
  }
  const { turned = width } = options ?? {};
  if (!(Number.isInteger(turned / 2) && turned >= 0 && turned <= width)) {
    throw new RangeError(
      `rotary: expected an even number of elements to turn, ${width} or fewer, but got ${turned}`,
    );
  }
  if (layout !== "interleaved" && layout !== "half-split") {
    throw new TypeError(
      `rotary: expected layout "interleaved" or "half-split" but got "${layout}"`,
    );
  }
  if (!Number.isInteger(position) || position < 0) {
    throw new RangeError(`rotary: expected a position of 0 or more but got ${position}`);
  }
  const shapes = [[batch], [batch, length]];
  const fits = (x: Tensor) =>
    x.dtype === "i32" && shapes.some((shape) => sameShape(x.shape, shape));
  if (positions && !fits(positions)) {
    throw new TypeError(
      `rotary: expected positions ${
        shapes.map(formatShape).join(" or ")
      } of i32 but got ${positions}`,
    );
  }
  const device = sameDevice("rotary", x, positions);
  const params = {
    rows: batch * length * heads,
    // With a position of its own, each time step is a sequence.
    length: positions?.shape.length === 2 ? 1 : length,
    heads,
    width,
    turned,
    position,
    firstRow: 0,
    halfSplit: Number(layout === "half-split"),
  };
  const turn = (input: Tensor, positions: Tensor | undefined, direction: 1 | -1): Tensor => {
    const output = Tensor.empty(device, input.shape, input.dtype);
    if (output.size === 0) return output;
    const turns = turnsOf(device, position + length, [width, turned], { theta, scaling });
    const bindings = { x: input, turns, positions, y: output };
    const tableRows = turns.shape[0]!;
    device.launch(rotaryKernel, bindings, { ...params, tableRows, direction });
    return output;
  };
  const saved = positions ? [positions] : [];
  return record(
    "rotary",
    [x],
    turn(x, positions, 1),
    saved,
    (dOut, [positions]) => [turn(dOut, positions, -1)],
  );
}

const tables = new WeakMap<Device, Map<string, Tensor>>();

/** The device's table of cosines and sines for at least the given number of positions. It grows by doubling. */
function turnsOf(
  device: Device,
  positions: number,
  [width, turned]: [width: number, turned: number],
  options: Required<SinusoidOptions>,
): Tensor {
  let own = tables.get(device);
  if (!own) tables.set(device, own = new Map());
  const key = JSON.stringify([width, turned, options]);
  const known = own.get(key);
  if (known && known.shape[0]! >= positions) return known;
  const length = 2 ** Math.ceil(Math.log2(Math.max(64, positions)));
  const table = widened(sinusoidTable(length, turned, options), length, turned, width);
  const made = unscoped(() => tensor(table, { device, shape: [length, width] }));
  known?.dispose();
  own.set(key, made);
  return made;
}

/** A table with rows of `width` columns, those after the first `columns` 0. */
function widened(
  table: Float32Array<ArrayBuffer>,
  rows: number,
  columns: number,
  width: number,
): Float32Array<ArrayBuffer> {
  if (columns === width) return table;
  const wide = new Float32Array(rows * width);
  for (let from = 0, to = 0; to < wide.length; from += columns, to += width) {
    wide.set(table.subarray(from, from + columns), to);
  }
  return wide;
}

/** How a model trained on short sequences is extended to longer ones. */
export type RotaryScaling =
  /** Divides all positions by `factor` (Chen et al. 2023, "Position Interpolation"). */
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
  }
  /**
   * YaRN (Peng et al. 2023): pairs that turn less than `betaSlow` times in the original context turn `factor` times slower,
   * those that turn more than `betaFast` times as before, and those between in between; queries and keys are multiplied by
   * `attentionFactor`, by default the paper's `0.1 ln(factor) + 1`.
   */
  | {
    readonly type: "yarn";
    readonly factor: number;
    readonly attentionFactor?: number | undefined;
    readonly betaFast: number;
    readonly betaSlow: number;
    readonly originalContextSize: number;
  };

/**
 * The rotation in radians per position of each of the `width / 2` pairs of a head: `theta^(-2i/width)`, scaled.
 *
 * Throws a `RangeError` if the width is odd, or if theta or the scaling is invalid.
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
  scaling?: RotaryScaling | null,
): number[] {
  if (width % 2 !== 0) throw new RangeError(`rotary: expected an even width but got ${width}`);
  if (!(theta > 0)) throw new RangeError(`rotary: expected a positive theta but got ${theta}`);
  checkScaling(scaling);
  const frequencies = Array.from({ length: width / 2 }, (_, i) => theta ** (-2 * i / width));
  if (scaling?.type === "yarn") return yarn(frequencies, theta, scaling);
  return frequencies.map((frequency) => scaled(frequency, scaling));
}

/** YaRN's frequencies. The boundaries of the transition are rounded to whole pairs, as in its code. */
function yarn(
  frequencies: readonly number[],
  theta: number,
  scaling: RotaryScaling & { type: "yarn" },
): number[] {
  const { factor, betaFast, betaSlow, originalContextSize } = scaling;
  const pairs = frequencies.length;
  const pairThatTurns = (times: number) =>
    pairs * Math.log(originalContextSize / (2 * Math.PI * times)) / Math.log(theta);
  const low = Math.max(Math.floor(pairThatTurns(betaFast)), 0);
  const high = Math.min(Math.ceil(pairThatTurns(betaSlow)), 2 * pairs - 1);
  return frequencies.map((frequency, i) => {
    const slow = Math.min(1, Math.max(0, (i - low) / Math.max(high - low, 0.001)));
    return slow * frequency / factor + (1 - slow) * frequency;
  });
}

function scaled(
  frequency: number,
  scaling: Exclude<RotaryScaling, { type: "yarn" }> | null | undefined,
): number {
  if (!scaling) return frequency;
  const slow = frequency / scaling.factor;
  if (scaling.type === "linear") return slow;
  const turns = scaling.originalContextSize * frequency / (2 * Math.PI);
  const { lowFrequencyFactor: low, highFrequencyFactor: high } = scaling;
  const share = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return (1 - share) * slow + share * frequency;
}

/** The factor that cosines and sines are multiplied by. */
function attentionFactorOf(scaling: RotaryScaling | null | undefined): number {
  if (scaling?.type !== "yarn") return 1;
  return scaling.attentionFactor ?? 0.1 * Math.log(Math.max(1, scaling.factor)) + 1;
}

function checkScaling(scaling: RotaryScaling | null | undefined): void {
  if (!scaling) return;
  const { type: _, ...numbers } = scaling;
  const positive = Object.values(numbers)
    .every((value) => value === undefined || (value > 0 && value < Infinity));
  const ordered = scaling.type === "linear" ||
    (scaling.type === "llama3"
      ? scaling.lowFrequencyFactor < scaling.highFrequencyFactor
      : scaling.betaSlow < scaling.betaFast);
  if (positive && ordered) return;
  throw new RangeError(
    `rotary: expected a scaling by positive numbers, the low frequency factor below the high one, but got ${
      JSON.stringify(scaling)
    }`,
  );
}

/** Options of {@linkcode sinusoidTable}. */
export interface SinusoidOptions {
  /** The base of the frequencies: pair i rotates by `theta^(-2i/D)` radians per position. Default: 10,000. */
  readonly theta?: number;
  /** Slows some of the pairs down. Default: `null`. */
  readonly scaling?: RotaryScaling | null;
}

/**
 * Returns cosines and sines for positions 0 to `length - 1`, (length, D) in row-major order: column 2i holds
 * `cos(p * theta^(-2i/D))`, column 2i + 1 the sine of the same angle (after Vaswani et al., 2017, who put the sine
 * first). Computed in float64, since a GPU's sine of a large angle is inaccurate.
 *
 * Throws a `RangeError` if a length is not an integer, the width is odd, or theta is not positive.
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
  options?: SinusoidOptions,
): Float32Array<ArrayBuffer> {
  const { theta = 10000, scaling } = options ?? {};
  checkShape("sinusoidTable", [length, width]);
  if (width % 2 !== 0) {
    throw new RangeError(`sinusoidTable: expected an even width but got ${width}`);
  }
  const factor = attentionFactorOf(scaling);
  const table = new Float32Array(length * width);
  rotaryFrequencies(width, theta, scaling).forEach((frequency, pair) => {
    for (let position = 0; position < length; position++) {
      const at = position * width + 2 * pair;
      table[at] = factor * Math.cos(position * frequency);
      table[at + 1] = factor * Math.sin(position * frequency);
    }
  });
  return table;
}

/** {@linkcode sinusoidTable} as a tensor (length, width), to look up position embeddings in. */
export function sinusoid(
  length: number,
  width: number,
  options?: SinusoidOptions & CreateOptions,
): Tensor {
  const { dtype = "f32", device } = options ?? {};
  if (!isFloat(dtype)) throw new TypeError(`sinusoid: expected f32 or f16 but got ${dtype}`);
  return tensor(sinusoidTable(length, width, options), { dtype, device, shape: [length, width] });
}
