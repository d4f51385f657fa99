/**
 * Rotary position embedding.
 *
 * @module
 */
import { rotary as rotaryKernel } from "../../kernels/attention/rotary.ts";
import type { Device } from "../device/device.ts";
import { tensor } from "../tensor/create.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { unscoped } from "../tensor/scope.ts";
import { record } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkFloat, checkRank, sameDevice } from "./check.ts";
import type { RotaryScaling } from "./rotary_frequencies.ts";
import { type SinusoidOptions, sinusoidTable } from "./sinusoid.ts";

/** Options of {@linkcode rotary}. */
export interface RotaryOptions {
  /** How slowly the last pair turns: pair i by `theta^(-2i/D)` a position. Default: 10,000. */
  readonly theta?: number;
  /** Slows some of the pairs down, as LLaMA 3.1 does. Default: `null`. */
  readonly scaling?: RotaryScaling | null;
  /**
   * The position of the first of T, as when a cache holds those before; with `starts` the largest of them.
   * Default: 0.
   */
  readonly start?: number;
  /** The position of the first of T in each row, (B) of `i32`, where the rows of a batch differ. */
  readonly starts?: Tensor;
  /**
   * Which elements make a pair: `interleaved` (2i, 2i + 1) as in the paper and in Meta's LLaMA files,
   * `half-split` (i, i + D/2) as in HuggingFace's. Default: `interleaved`.
   */
  readonly layout?: "interleaved" | "half-split";
}

/**
 * Rotary position embedding (Su et al., 2021): x (B, T, H, D) with each pair of a head's elements turned by
 * an angle in proportion to its position `start + t` (or `starts[b] + t`), so that products of queries and keys depend on how
 * far apart they are. The shape stays.
 *
 * Cosines and sines come from a table made in float64, which the device keeps.
 *
 * Throws a `TypeError` unless x has four axes of floating-point numbers and `starts` is (B) of `i32`, a `RangeError`
 * when D is odd or `start` or `theta` out of range. One of `starts` that is far above `start` throws a `RangeError` on the
 * CPU and gives NaN on a GPU.
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
export function rotary(x: Tensor, options: RotaryOptions = {}): Tensor {
  const { theta = 10000, scaling = null, start = 0, starts, layout = "interleaved" } = options;
  checkFloat("rotary", x);
  checkRank("rotary", x, 4, "(batch, positions, heads, width)");
  const [batch, length, heads, width] = x.shape;
  if (width % 2 !== 0) {
    throw new RangeError(
      `rotary: expected heads of even width but got x of shape ${formatShape(x.shape)}`,
    );
  }
  if (!Number.isInteger(start) || start < 0) {
    throw new RangeError(`rotary: expected a start of 0 or more but got ${start}`);
  }
  if (starts && (starts.dtype !== "i32" || !sameShape(starts.shape, [batch]))) {
    throw new TypeError(`rotary: expected starts [${batch}] of i32 but got ${starts}`);
  }
  const device = sameDevice("rotary", x, starts);
  const params = {
    rows: batch * length * heads,
    length,
    heads,
    width,
    start,
    firstRow: 0,
    halfSplit: Number(layout === "half-split"),
  };
  const turn = (input: Tensor, starts: Tensor | undefined, direction: 1 | -1): Tensor => {
    const output = Tensor.empty(device, input.shape, input.dtype);
    if (output.size === 0) return output;
    const turns = turnsOf(device, start + length, width, { theta, scaling });
    const bindings = { x: input, turns, starts, y: output };
    const [positions] = turns.shape;
    device.launch(rotaryKernel, bindings, { ...params, positions, direction });
    return output;
  };
  const saved = starts ? [starts] : [];
  return record(
    "rotary",
    [x],
    turn(x, starts, 1),
    saved,
    (dOut, [starts]) => [turn(dOut, starts, -1)],
  );
}

const tables = new WeakMap<Device, Map<string, Tensor>>();

/** The device's table of cosines and sines, for at least so many positions; it grows by doubling. */
function turnsOf(
  device: Device,
  positions: number,
  width: number,
  options: Required<SinusoidOptions>,
): Tensor {
  let own = tables.get(device);
  if (!own) tables.set(device, own = new Map());
  const key = JSON.stringify([width, options]);
  const known = own.get(key);
  if (known && known.shape[0] >= positions) return known;
  const length = 2 ** Math.ceil(Math.log2(Math.max(64, positions)));
  const table = sinusoidTable(length, width, options);
  const made = unscoped(() => tensor(table, { device, shape: [length, width] }));
  known?.dispose();
  own.set(key, made);
  return made;
}
