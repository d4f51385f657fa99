/**
 * Quantises keys or values into a key-value cache.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { toInt8 } from "../../src/device/quantised.ts";
import wgsl from "./write_int8_rows.wgsl" with { type: "text" };

/** Parameters of {@linkcode writeInt8Rows}. */
export type WriteInt8RowsParams = {
  /** The number of sequences. */
  batch: number;
  /** The positions to write in each. */
  time: number;
  /** The heads of a position. */
  heads: number;
  /** The size of a head. */
  d: number;
  /** The words of a head in int8, `int8Words(d)`. */
  words: number;
  /** The capacity of each sequence of y, in positions. */
  capacity: number;
  /** The first position, relative to `positions` if that is given. */
  position: number;
};

/**
 * y (batch, capacity, heads, words) at positions `position + positions[b] + t` of sequence b = x (batch, time, heads,
 * d) in int8 (`int8Words`); `positions` is (batch) of `i32`. Positions past the capacity are not written.
 */
export const writeInt8Rows: Kernel<WriteInt8RowsParams> = kernel<WriteInt8RowsParams>({
  name: "write_int8_rows",
  bindings: {
    x: { read: "batch time heads d" },
    positions: { read: "batch", dtype: "i32", optional: true },
    y: { update: "batch capacity heads words", dtype: "u32" },
  },
  params: {
    ...{ batch: "u32", time: "u32", heads: "u32", d: "u32", words: "u32" },
    ...{ capacity: "u32", position: "u32" },
  },
  gpu: ({ batch, time, heads, d }) => ({
    wgsl,
    vec4: d % 4 === 0 && "d",
    workgroups: Math.ceil(batch * time * heads / 64),
  }),
  cpu({ x, positions, y }, { batch, time, heads, d, words, capacity, position }) {
    for (let row = 0; row < batch * time * heads; row++) {
      const head = row % heads, t = Math.floor(row / heads) % time;
      const b = Math.floor(row / (heads * time));
      const place = position + t + (positions?.[b] ?? 0);
      if (place >= capacity) continue;
      const to = ((b * capacity + place) * heads + head) * words;
      toInt8(x.subarray(row * d, (row + 1) * d), y, to);
    }
  },
  simd({ at, params: { batch, time, heads, d, capacity, position }, run }) {
    const chunk = Math.ceil(16384 / d);
    // deno-fmt-ignore
    run("write_int8_rows", batch * time * heads, chunk, at.x!, at.positions!, at.y!, time, heads, d, capacity, position);
    return true;
  },
  split: "batch",
});
