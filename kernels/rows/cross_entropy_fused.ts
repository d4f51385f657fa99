/**
 * Cross-entropy and its gradient at once, for logits that nobody needs afterwards.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { type CrossEntropyParams, rowLoss, rowStatistics } from "./cross_entropy.ts";
import wgsl from "./cross_entropy_fused.wgsl" with { type: "text" };
import { rowChunk, rowProgram, rowSources } from "./rows.ts";

const sources = rowSources(wgsl);

/**
 * loss (rows) of logits (rows, classes) and targets (rows); the logits are overwritten by their gradient,
 * (softmax(logits) - target distribution) * scale (1). Both are 0 in ignored rows.
 */
export const crossEntropyFused: Kernel<CrossEntropyParams> = kernel<CrossEntropyParams>({
  name: "cross_entropy_fused",
  bindings: {
    logits: { update: "rows classes" },
    targets: { read: "rows", dtype: "i32" },
    scale: { read: "1", dtype: "f32" },
    loss: { write: "rows", dtype: "f32" },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32", smoothing: "f32", known: "u32" },
  gpu: ({ rows, classes }, target) =>
    rowProgram(sources, target, {
      rows,
      columns: classes,
      passes: 2,
      axis: "classes",
    }),
  cpu({ logits, targets, scale, loss }, { rows, classes, ignoreIndex, smoothing }) {
    for (let row = 0; row < rows; row++) {
      const first = row * classes;
      if (targets[row] === ignoreIndex) {
        loss[row] = 0;
        logits.fill(0, first, first + classes);
        continue;
      }
      const statistics = rowStatistics(logits, first, classes);
      const { top, log } = statistics;
      loss[row] = rowLoss(statistics, logits[first + targets[row]], smoothing);
      for (let i = 0; i < classes; i++) {
        const hot = i === targets[row] ? 1 - smoothing : 0;
        const p = Math.exp(logits[first + i] - top - log);
        logits[first + i] = (p - smoothing / classes - hot) * scale[0];
      }
    }
  },
  simd({ at, params: { rows, classes, ignoreIndex, smoothing }, run }) {
    // deno-fmt-ignore
    run("cross_entropy_fused", rows, rowChunk(classes), at.logits, classes, at.targets, at.loss, 0,
      classes, ignoreIndex, smoothing, 1, at.scale, 0);
    return true;
  },
  split: "rows",
});
