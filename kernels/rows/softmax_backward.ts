/**
 * The gradient of softmax.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import type { AxisParams } from "./softmax.ts";
import wgsl from "./softmax_backward.wgsl" with { type: "text" };

const sources = rowSources(wgsl);

/** dX = y * (dOut - sum(dOut * y)), all (outer, columns, inner), along the middle axis; y is the softmax. */
export const softmaxBackward: Kernel<AxisParams> = kernel<AxisParams>({
  name: "softmax_backward",
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
      let shift = 0;
      for (let i = first; i < end; i += inner) shift += dOut[i] * y[i];
      for (let i = first; i < end; i += inner) dX[i] = y[i] * (dOut[i] - shift);
    }
  },
  simd({ at, params: { outer, columns, inner }, run }) {
    if (inner !== 1) return false;
    run("softmax_backward", outer, rowChunk(columns), at.dOut, at.y, at.dX, columns);
    return true;
  },
  split: "outer",
});
