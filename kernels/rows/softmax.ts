/**
 * Softmax along an axis.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import wgsl from "./softmax.wgsl" with { type: "text" };

/** A tensor seen as (outer, columns, inner), the axis in the middle. */
export type AxisParams = {
  /** Product of the axes before. */
  outer: number;
  /** Length of the axis. */
  columns: number;
  /** Product of the axes behind. */
  inner: number;
};

const sources = rowSources(wgsl);

/** y = softmax(x), both (outer, columns, inner), along the middle axis. */
export const softmax: Kernel<AxisParams> = kernel<AxisParams>({
  name: "softmax",
  bindings: {
    x: { read: "outer columns inner" },
    y: { write: "outer columns inner" },
  },
  params: { outer: "u32", columns: "u32", inner: "u32" },
  gpu: ({ outer, columns, inner }, target) =>
    rowProgram(sources, target, {
      rows: outer * inner,
      columns,
      passes: 2,
      contiguous: inner === 1,
      axis: "inner",
    }),
  cpu({ x, y }, { outer, columns, inner }) {
    for (let row = 0; row < outer * inner; row++) {
      const first = Math.floor(row / inner) * columns * inner + row % inner;
      const end = first + columns * inner;
      let top = -Infinity;
      for (let i = first; i < end; i += inner) top = Math.max(top, x[i]);
      let sum = 0;
      for (let i = first; i < end; i += inner) sum += Math.exp(x[i] - top);
      for (let i = first; i < end; i += inner) y[i] = Math.exp(x[i] - top) / sum;
    }
  },
  simd({ at, params: { outer, columns, inner }, run }) {
    if (inner !== 1) return false;
    run("softmax", outer, rowChunk(columns), at.x, at.y, columns);
    return true;
  },
  split: "outer",
});
