/**
 * The gradient of log-softmax.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import type { AxisParams } from "./softmax.ts";
import wgsl from "./log_softmax_backward.wgsl" with { type: "text" };

const sources = rowSources(wgsl);

/** dX = dOut - exp(y) * sum(dOut), all (outer, columns, inner), along the middle axis; y is the log-softmax. */
export const logSoftmaxBackward: Kernel<AxisParams> = kernel<AxisParams>({
  name: "log_softmax_backward",
  bindings: {
    dOut: { read: "outer columns inner" },
    y: { read: "outer columns inner" },
    dX: { write: "outer columns inner" },
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
  cpu({ dOut, y, dX }, { outer, columns, inner }) {
    for (let row = 0; row < outer * inner; row++) {
      const first = Math.floor(row / inner) * columns * inner + row % inner;
      const end = first + columns * inner;
      let sum = 0;
      for (let i = first; i < end; i += inner) sum += dOut[i];
      for (let i = first; i < end; i += inner) dX[i] = dOut[i] - Math.exp(y[i]) * sum;
    }
  },
  simd({ at, params: { outer, columns, inner }, run }) {
    if (inner !== 1) return false;
    run("log_softmax_backward", outer, rowChunk(columns), at.dOut, at.y, at.dX, columns);
    return true;
  },
  split: "outer",
});
