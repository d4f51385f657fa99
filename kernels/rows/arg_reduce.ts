/**
 * The index of the largest or smallest element along an axis.
 *
 * @module
 */
import { type Kernel, kernel, MAX_ITERATIONS } from "../../src/device/kernel.ts";
import wgsl from "./arg_reduce.wgsl" with { type: "text" };

/** Parameters of {@linkcode argReduceKernels}. */
export type ArgReduceParams = {
  /** The number of elements of the result: outer x inner. */
  count: number;
  /** The length of the reduced axis, at least 1. */
  reduced: number;
  /** The stride of the reduced axis. */
  inner: number;
};

function argReduce(name: string, largest: boolean): Kernel<ArgReduceParams> {
  return kernel<ArgReduceParams>({
    name,
    bindings: {
      x: { read: ({ inner }) => inner === 1 ? "count reduced" : "reduced count" },
      y: { write: "count", dtype: "i32" },
    },
    params: { count: "u32", reduced: "u32", inner: "u32" },
    gpu({ count, reduced }, { dtypes, maxInvocations }) {
      const iterations = (lanes: number) => Math.ceil(reduced / lanes) + Math.log2(lanes);
      let lanes = reduced >= 4096 ? 256 : 64;
      while (iterations(lanes) > MAX_ITERATIONS && lanes * 2 <= maxInvocations) lanes *= 2;
      return {
        wgsl,
        constants: {
          C: dtypes.x === "f16" ? "f32" : dtypes.x!,
          LARGEST: largest,
          FLOAT: dtypes.x === "f32" || dtypes.x === "f16",
          WORKGROUP: lanes,
        },
        workgroups: count,
        iterations: iterations(lanes),
      };
    },
    cpu({ x, y }, { count, reduced, inner }) {
      for (let i = 0; i < count; i++) {
        const base = Math.floor(i / inner) * reduced * inner + i % inner;
        let at = 0;
        let best = x[base];
        for (let k = 1; k < reduced && best === best; k++) {
          const value = x[base + k * inner];
          if ((largest ? value > best : value < best) || value !== value) {
            best = value;
            at = k;
          }
        }
        y[i] = at;
      }
    },
    split: "count",
  });
}

/** From x [outer, reduced, inner] to y [outer, inner] of i32; the first among equals, a NaN before all. */
export const argReduceKernels = {
  /** The index of the largest element. */
  argmax: argReduce("argmax", true),
  /** The index of the smallest element. */
  argmin: argReduce("argmin", false),
} as const satisfies Record<string, Kernel<ArgReduceParams>>;
