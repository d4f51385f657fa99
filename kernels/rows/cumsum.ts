/**
 * Cumulative sums along an axis.
 *
 * @module
 */
import { type Kernel, kernel, MAX_ITERATIONS } from "../../src/device/kernel.ts";
import type { AxisParams } from "./softmax.ts";
import wgsl from "./cumsum.wgsl" with { type: "text" };

/** Parameters of {@linkcode cumsum}. */
export type CumsumParams = AxisParams & {
  /** 1 to sum from the end of the axis, as in the gradient. */
  reverse: number;
};

/**
 * y = the sums of x up to and including each element along the middle axis, both (outer, columns, inner); f16 is
 * summed in f32.
 */
export const cumsum: Kernel<CumsumParams> = kernel<CumsumParams>({
  name: "cumsum",
  bindings: {
    x: { read: "outer columns inner" },
    y: { write: "outer columns inner" },
  },
  params: { outer: "u32", columns: "u32", inner: "u32", reverse: "u32" },
  gpu({ outer, columns, inner }, { dtypes, maxInvocations, software }) {
    const iterations = (lanes: number) => 2 * Math.ceil(columns / lanes) + Math.log2(lanes);
    // On a software adapter 8 lanes are one SIMD vector, which never waits at a barrier.
    let lanes = software ? 8 : 32;
    const wanted = software ? 8 : Math.min(256, columns);
    while (lanes < wanted || iterations(lanes) > MAX_ITERATIONS) {
      if (lanes * 2 > maxInvocations) break;
      lanes *= 2;
    }
    return {
      wgsl,
      constants: { C: dtypes.x === "f16" ? "f32" : dtypes.x!, WORKGROUP: lanes },
      workgroups: outer * inner,
      iterations: iterations(lanes),
    };
  },
  cpu({ x, y }, { outer, columns, inner, reverse }) {
    const step = reverse ? -inner : inner;
    for (let row = 0; row < outer * inner; row++) {
      let at = Math.floor(row / inner) * columns * inner + row % inner;
      if (reverse) at += (columns - 1) * inner;
      let sum = 0;
      for (let k = 0; k < columns; k++, at += step) y[at] = sum += x[at]!;
    }
  },
  split: "outer",
});
