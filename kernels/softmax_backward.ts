/**
 * The gradient of softmax.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";
import type { AxisParams } from "./softmax.ts";
import wgsl from "./softmax_backward.wgsl" with { type: "text" };

const sources = rowSources(wgsl);

/** dx = y * (dy - sum(dy * y)), all (outer, columns, inner), along the middle axis; y is the softmax. */
export const softmaxBackward: Kernel<AxisParams> = kernel({
  name: "softmax_backward",
  bindings: { dy: "read", y: "read", dx: "write" },
  params: { outer: "u32", columns: "u32", inner: "u32" },
  gpu: ({ outer, columns, inner }, target) =>
    rowProgram(sources, target, {
      rows: outer * inner,
      columns,
      passes: 2,
      contiguous: inner === 1,
      along: { G: target.dtypes.dy, Y: target.dtypes.y, X: target.dtypes.dx },
    }),
  cpu({ dy, y, dx }, { outer, columns, inner }) {
    for (let row = 0; row < outer * inner; row++) {
      const first = Math.floor(row / inner) * columns * inner + row % inner;
      const end = first + columns * inner;
      let shift = 0;
      for (let i = first; i < end; i += inner) shift += dy[i] * y[i];
      for (let i = first; i < end; i += inner) dx[i] = y[i] * (dy[i] - shift);
    }
  },
  simd({ at, params: { outer, columns, inner }, run }) {
    if (inner !== 1) return false;
    run("softmax_backward", outer, rowChunk(columns), at.dy, at.y, at.dx, columns);
    return true;
  },
  split: {
    along: "outer",
    elements: {
      dy: ({ columns, inner }) => columns * inner,
      y: ({ columns, inner }) => columns * inner,
      dx: ({ columns, inner }) => columns * inner,
    },
  },
});
