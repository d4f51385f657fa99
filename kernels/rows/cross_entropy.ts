/**
 * Cross-entropy between logits and class ids.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./cross_entropy.wgsl" with { type: "text" };
import type { ClassParams } from "./cross_entropy_count.ts";
import { rowChunk, rowProgram, rowSources } from "./rows.ts";

/** Numbers of {@linkcode crossEntropy} and its gradient. */
export type CrossEntropyParams = ClassParams & {
  /** What the target distribution gives to all classes alike, 0 to 1. */
  smoothing: number;
  /** Classes that a target may name; others only pad the rows. */
  known: number;
};

const sources = rowSources(wgsl);

/**
 * loss (rows) of logits (rows, classes) and targets (rows), 0 where the target is `ignoreIndex`; lse (rows)
 * = log(sum(exp(logits))), what the gradient needs.
 */
export const crossEntropy: Kernel<CrossEntropyParams> = kernel<CrossEntropyParams>({
  name: "cross_entropy",
  bindings: {
    logits: { read: "rows classes" },
    targets: { read: "rows", dtype: "i32" },
    loss: { write: "rows", dtype: "f32" },
    lse: { write: "rows", dtype: "f32", optional: true },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32", smoothing: "f32", known: "u32" },
  gpu: ({ rows, classes }, target) =>
    rowProgram(sources, target, {
      rows,
      columns: classes,
      passes: 1,
      axis: "classes",
    }),
  cpu({ logits, targets, loss, lse }, { rows, classes, ignoreIndex, smoothing }) {
    for (let row = 0; row < rows; row++) {
      const first = row * classes;
      const statistics = rowStatistics(logits, first, classes);
      if (lse) lse[row] = statistics.top + statistics.log;
      loss[row] = targets[row] === ignoreIndex
        ? 0
        : rowLoss(statistics, logits[first + targets[row]], smoothing);
    }
  },
  simd({ at, params: { rows, classes, ignoreIndex, smoothing }, run }) {
    // deno-fmt-ignore
    run("cross_entropy", rows, rowChunk(classes), at.logits, classes, at.targets, at.loss, at.lse,
      classes, ignoreIndex, smoothing);
    return true;
  },
  split: "rows",
});

/** The largest of a row's logits, the logarithm of the sum of exp(x - largest), and their mean. */
export interface RowStatistics {
  /** The largest. */
  readonly top: number;
  /** log(sum(exp(x - top))). */
  readonly log: number;
  /** The mean, -Infinity where a logit is. */
  readonly mean: number;
}

/** The loss of a row whose target has the logit `hit`. */
export function rowLoss({ top, log, mean }: RowStatistics, hit: number, smoothing: number): number {
  const loss = (1 - smoothing) * (log - (hit - top));
  // 0 times an infinite mean is NaN.
  return smoothing === 0 ? loss : loss + smoothing * (log - (mean - top));
}

/** See {@linkcode RowStatistics}. */
export function rowStatistics(
  logits: ArrayLike<number>,
  first: number,
  classes: number,
): RowStatistics {
  let top = -Infinity, sum = 0, all = 0;
  for (let i = first; i < first + classes; i++) {
    top = Math.max(top, logits[i]);
    all += logits[i];
  }
  for (let i = first; i < first + classes; i++) sum += Math.exp(logits[i] - top);
  return { top, log: Math.log(sum), mean: all / classes };
}
