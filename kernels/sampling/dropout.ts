/**
 * Drops elements at random. The same launch applied to the output's gradient is the backward pass.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import source from "./dropout.wgsl" with { type: "text" };
import { eachRandom, philoxWgsl, STREAM_PARAMS, type StreamParams, unit } from "./philox.ts";

/** Parameters of {@linkcode dropout}. */
export type DropoutParams = StreamParams & {
  /** The number of elements. */
  count: number;
  /** The index of the first element in the stream, a multiple of 4; 0 unless a launch is split. */
  first: number;
  /** The fraction that is dropped, in [0, 1). */
  p: number;
};

const program = `${source}\n${philoxWgsl}`;

/** y (count) = x (count) / (1 - p) where the element's random number is at least p, otherwise 0. */
export const dropout: Kernel<DropoutParams> = kernel<DropoutParams>({
  name: "dropout",
  bindings: {
    x: { read: "count" },
    y: { write: "count" },
  },
  params: { count: "u32", ...STREAM_PARAMS, first: "u32", p: "f32" },
  gpu: ({ count }) => ({
    wgsl: program,
    workgroups: Math.ceil(count / 256),
  }),
  cpu({ x, y }, params) {
    const threshold = Math.fround(params.p);
    const scale = 1 / (1 - threshold);
    eachRandom(params.count, params, (i, bits) => {
      y[i] = unit(bits) >= threshold ? x[i] * scale : 0;
    });
  },
  simd({ at, params, run }) {
    const { count, seed_low, seed_high, block_low, block_high } = params;
    const threshold = Math.fround(params.p);
    const stream = [seed_low, seed_high, block_low, block_high];
    run(
      "dropout",
      Math.ceil(count / 16),
      512,
      count,
      ...stream,
      threshold,
      1 / (1 - threshold),
      at.x!,
      at.y!,
    );
    return true;
  },
  split: "count",
  splitStart: "first",
});
