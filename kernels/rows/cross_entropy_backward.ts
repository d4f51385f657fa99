/**
 * The gradient of cross-entropy.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import type { CrossEntropyParams } from "./cross_entropy.ts";
import wgsl from "./cross_entropy_backward.wgsl" with { type: "text" };
import { numberAt, rowChunk, rowProgram, rowSources } from "./rows.ts";

const sources = rowSources(wgsl);

/**
 * dLogits (rows, classes) = (softmax(logits) - target distribution) * scale * dOut, 0 in ignored rows; lse
 * (rows) is that of `cross_entropy`, scale (1) that of `cross_entropy_count`, dOut (1) the gradient of the mean.
 */
export const crossEntropyBackward: Kernel<CrossEntropyParams> = kernel<CrossEntropyParams>({
  name: "cross_entropy_backward",
  bindings: {
    logits: { read: "rows classes" },
    targets: { read: "rows", dtype: "i32" },
    lse: { read: "rows", dtype: "f32" },
    scale: { read: "1", dtype: "f32" },
    dOut: { read: "1", dtype: "f32" },
    dLogits: { write: "rows classes" },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32", smoothing: "f32", known: "u32" },
  gpu: ({ rows, classes }, target) =>
    rowProgram(sources, target, {
      rows,
      columns: classes,
      passes: 1,
      axis: "classes",
    }),
  cpu(views, { rows, classes, ignoreIndex, smoothing }) {
    const { logits, targets, lse, scale, dOut, dLogits } = views;
    const factor = scale[0] * dOut[0];
    for (let row = 0; row < rows; row++) {
      const first = row * classes;
      if (targets[row] === ignoreIndex) {
        dLogits.fill(0, first, first + classes);
        continue;
      }
      for (let i = 0; i < classes; i++) {
        const hot = i === targets[row] ? 1 - smoothing : 0;
        const p = Math.exp(logits[first + i] - lse[row]);
        dLogits[first + i] = (p - smoothing / classes - hot) * factor;
      }
    }
  },
  simd(job) {
    const { at, params: { rows, classes, ignoreIndex, smoothing }, run } = job;
    // deno-fmt-ignore
    run("cross_entropy_backward", rows, rowChunk(classes), at.logits, classes, at.targets, at.lse,
      at.dLogits, classes, ignoreIndex, smoothing, numberAt(job, at.dOut), at.scale, 0);
    return true;
  },
  split: "rows",
});
