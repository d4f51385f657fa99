/**
 * Softmax and log-softmax along an axis, and their gradients.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import { rowChunk, rowProgram, type RowSources, rowSources } from "./rows.ts";
import wgsl from "./softmax.wgsl" with { type: "text" };
import backwardWgsl from "./softmax_backward.wgsl" with { type: "text" };

/** A tensor seen as (outer, columns, inner), with the axis in the middle. */
export type AxisParams = {
  /** The product of the axes before. */
  outer: number;
  /** The length of the axis. */
  columns: number;
  /** The product of the axes after. */
  inner: number;
};

/** Parameters of {@linkcode softmax} and {@linkcode softmaxBackward}. */
export type SoftmaxParams = AxisParams & {
  /** 1 for log-softmax, 0 for softmax. */
  log: number;
};

const params = { outer: "u32", columns: "u32", inner: "u32", log: "u32" } as const;

const program =
  (sources: RowSources) => ({ outer, columns, inner, log }: SoftmaxParams, target: GpuTarget) =>
    rowProgram(sources, target, {
      rows: outer * inner,
      columns,
      passes: 2,
      contiguous: inner === 1,
      axis: "inner",
      constants: { LOG: log === 1 },
    });

/** y = softmax(x) or log(softmax(x)), both (outer, columns, inner), along the middle axis. */
export const softmax: Kernel<SoftmaxParams> = kernel<SoftmaxParams>({
  name: "softmax",
  bindings: {
    x: { read: "outer columns inner" },
    y: { write: "outer columns inner" },
  },
  params,
  gpu: program(rowSources(wgsl)),
  cpu({ x, y }, { outer, columns, inner, log }) {
    for (let row = 0; row < outer * inner; row++) {
      const first = Math.floor(row / inner) * columns * inner + row % inner;
      const end = first + columns * inner;
      let top = -Infinity;
      for (let i = first; i < end; i += inner) top = Math.max(top, x[i]);
      let sum = 0;
      for (let i = first; i < end; i += inner) sum += Math.exp(x[i] - top);
      const logSum = Math.log(sum);
      for (let i = first; i < end; i += inner) {
        y[i] = log ? x[i] - top - logSum : Math.exp(x[i] - top) / sum;
      }
    }
  },
  simd({ at, params: { outer, columns, inner, log }, run }) {
    if (inner !== 1) return false;
    run(log ? "log_softmax" : "softmax", outer, rowChunk(columns), at.x!, at.y!, columns);
    return true;
  },
  split: "outer",
});

/**
 * dX = y * (dOut - sum(dOut * y)) for the softmax y, or dX = dOut - exp(y) * sum(dOut) for the log-softmax y; all are
 * (outer, columns, inner), and sums are along the middle axis.
 */
export const softmaxBackward: Kernel<SoftmaxParams> = kernel<SoftmaxParams>({
  name: "softmax_backward",
  bindings: {
    dOut: { read: "outer columns inner" },
    y: { read: "outer columns inner" },
    dX: { write: "outer columns inner" },
  },
  params,
  gpu: program(rowSources(backwardWgsl)),
  cpu({ dOut, y, dX }, { outer, columns, inner, log }) {
    for (let row = 0; row < outer * inner; row++) {
      const first = Math.floor(row / inner) * columns * inner + row % inner;
      const end = first + columns * inner;
      let sum = 0;
      for (let i = first; i < end; i += inner) sum += log ? dOut[i] : dOut[i] * y[i];
      for (let i = first; i < end; i += inner) {
        dX[i] = log ? dOut[i] - Math.exp(y[i]) * sum : y[i] * (dOut[i] - sum);
      }
    }
  },
  simd({ at, params: { outer, columns, inner, log }, run }) {
    if (inner !== 1) return false;
    const name = log ? "log_softmax_backward" : "softmax_backward";
    run(name, outer, rowChunk(columns), at.dOut!, at.y!, at.dX!, columns);
    return true;
  },
  split: "outer",
});
