/**
 * The logarithm of softmax along an axis.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import type { AxisParams } from "./softmax.ts";
import wgsl from "./log_softmax.wgsl" with { type: "text" };

const sources = rowSources(wgsl);

/** y = log(softmax(x)), both (outer, columns, inner), along the middle axis. */
export const logSoftmax: Kernel<AxisParams> = kernel<AxisParams>({
  name: "log_softmax",
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
      const log = Math.log(sum);
      for (let i = first; i < end; i += inner) y[i] = x[i] - top - log;
    }
  },
  simd({ at, params: { outer, columns, inner }, run }) {
    if (inner !== 1) return false;
    run("log_softmax", outer, rowChunk(columns), at.x, at.y, columns);
    return true;
  },
  split: "outer",
});
