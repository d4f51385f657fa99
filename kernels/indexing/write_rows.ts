/**
 * Writes rows into the sequences of a longer tensor, such as a key-value cache.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./write_rows.wgsl" with { type: "text" };

/** Parameters of {@linkcode writeRows}. */
export type WriteRowsParams = {
  /** The number of sequences. */
  batch: number;
  /** The rows to write into each. */
  time: number;
  /** The elements of a row. */
  width: number;
  /** The capacity of each sequence of y, in rows. */
  capacity: number;
  /** Where the first row is written, relative to `positions` if that is given. */
  position: number;
};

/**
 * y (batch, capacity, width) at rows `position + positions[b] + t` of sequence b = x (batch, time, width), both of
 * one dtype, or f32 into f16; `positions` is (batch) of `i32`. Rows past the capacity are not written.
 */
export const writeRows: Kernel<WriteRowsParams> = kernel<WriteRowsParams>({
  name: "write_rows",
  bindings: {
    x: { read: "batch time width" },
    positions: { read: "batch", dtype: "i32", optional: true },
    y: { update: "batch capacity width" },
  },
  params: { batch: "u32", time: "u32", width: "u32", capacity: "u32", position: "u32" },
  gpu({ batch, time, width }) {
    const vec4 = width % 4 === 0 && "width";
    return { wgsl, vec4, workgroups: Math.ceil(batch * time * width / (vec4 ? 4 : 1) / 64) };
  },
  cpu({ x, positions, y }, { batch, time, width, capacity, position }) {
    for (let b = 0; b < batch; b++) {
      const first = position + (positions?.[b] ?? 0);
      const rows = Math.max(0, Math.min(time, capacity - first));
      const from = b * time * width;
      y.set(x.subarray(from, from + rows * width), (b * capacity + first) * width);
    }
  },
  split: "batch",
});
