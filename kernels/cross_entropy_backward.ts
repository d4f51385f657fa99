/**
 * The gradient of cross-entropy.
 *
 * @module
 */
import { type Kernel, kernel } from "../src/device/kernel.ts";
import type { CrossEntropyParams } from "./cross_entropy.ts";
import wgsl from "./cross_entropy_backward.wgsl" with { type: "text" };
import { numberAt, rowChunk, rowProgram, rowSources } from "./rows.ts";

const sources = rowSources(wgsl);

/**
 * dLogits (rows, classes) = (softmax(logits) - target distribution) * scale * dy, 0 in ignored rows; lse
 * (rows) is that of `cross_entropy`, scale (1) that of `cross_entropy_count`, dy (1) the gradient of the mean.
 */
export const crossEntropyBackward: Kernel<CrossEntropyParams> = kernel({
  name: "cross_entropy_backward",
  bindings: {
    logits: "read",
    targets: "read",
    lse: "read",
    scale: "read",
    dy: "read",
    dLogits: "write",
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32", smoothing: "f32" },
  gpu: ({ rows, classes }, target) =>
    rowProgram(sources, target, {
      rows,
      columns: classes,
      passes: 1,
      along: { X: target.dtypes.logits, G: target.dtypes.dLogits },
      constants: { T: target.dtypes.targets },
    }),
  cpu(views, { rows, classes, ignoreIndex, smoothing }) {
    const { logits, targets, lse, scale, dy, dLogits } = views;
    const factor = scale[0] * dy[0];
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
      at.dLogits, classes, ignoreIndex, smoothing, numberAt(job, at.dy), at.scale, 0);
    return true;
  },
  split: {
    along: "rows",
    elements: {
      logits: ({ classes }) => classes,
      targets: () => 1,
      lse: () => 1,
      dLogits: ({ classes }) => classes,
    },
  },
});
