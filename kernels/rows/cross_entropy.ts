/**
 * Cross-entropy of rows of logits: the scale of the mean, the losses, the gradients, and losses and gradients in one
 * pass.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { numberAt, rowChunk, rowProgram, rowSources } from "./rows.ts";
import crossEntropyWgsl from "./cross_entropy.wgsl" with { type: "text" };
import crossEntropyCountWgsl from "./cross_entropy_count.wgsl" with { type: "text" };
import crossEntropyMeanWgsl from "./cross_entropy_mean.wgsl" with { type: "text" };
import crossEntropyBackwardWgsl from "./cross_entropy_backward.wgsl" with { type: "text" };
import crossEntropyFusedWgsl from "./cross_entropy_fused.wgsl" with { type: "text" };
import crossEntropyScaleWgsl from "./cross_entropy_scale.wgsl" with { type: "text" };

/** Parameters of {@linkcode crossEntropy} and its gradient. */
export type CrossEntropyParams = ClassParams & {
  /** Label smoothing: the probability that the target distribution spreads over all classes, 0 to 1. */
  smoothing: number;
  /** The classes that a target may name; any others only pad the rows. */
  known: number;
};

const crossEntropySources = rowSources(crossEntropyWgsl);

/**
 * loss (rows) from logits (rows, classes) and targets (rows), 0 where the target is `ignoreIndex`; also what the gradient
 * needs, sums (rows, 2): the maximum of each row, and the sum of exp(x - maximum). Together as one logarithm they would
 * round large logits.
 */
export const crossEntropy: Kernel<CrossEntropyParams> = kernel<CrossEntropyParams>({
  name: "cross_entropy",
  bindings: {
    logits: { read: "rows classes" },
    targets: { read: "rows", dtype: "i32" },
    loss: { write: "rows", dtype: "f32" },
    sums: { write: "rows 2", dtype: "f32", optional: true },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32", smoothing: "f32", known: "u32" },
  gpu: ({ rows, classes }, target) =>
    rowProgram(crossEntropySources, target, {
      rows,
      columns: classes,
      passes: 1,
      axis: "classes",
    }),
  cpu({ logits, targets, loss, sums }, { rows, classes, ignoreIndex, smoothing }) {
    for (let row = 0; row < rows; row++) {
      const first = row * classes;
      const statistics = rowStatistics(logits, first, classes);
      if (sums) [sums[2 * row], sums[2 * row + 1]] = [statistics.top, statistics.sum];
      loss[row] = targets[row] === ignoreIndex
        ? 0
        : rowLoss(statistics, logits[first + targets[row]], smoothing);
    }
  },
  simd({ at, params: { rows, classes, ignoreIndex, smoothing }, run }) {
    // deno-fmt-ignore
    run("cross_entropy", rows, rowChunk(classes), at.logits!, classes, at.targets!, at.loss!, at.sums!,
      classes, ignoreIndex, smoothing);
    return true;
  },
  split: "rows",
});

/** What the loss of a row needs. */
interface RowStatistics {
  /** The largest logit. */
  readonly top: number;
  /** sum(exp(x - top)). */
  readonly sum: number;
  /** log(sum(exp(x - top))). */
  readonly log: number;
  /** The mean logit, -Infinity if any logit is. */
  readonly mean: number;
}

/** The loss of a row with the logit `hit` at its target. */
function rowLoss({ top, log, mean }: RowStatistics, hit: number, smoothing: number): number {
  const loss = (1 - smoothing) * (log - (hit - top));
  // 0 times an infinite mean is NaN.
  return smoothing === 0 ? loss : loss + smoothing * (log - (mean - top));
}

/** See {@linkcode RowStatistics}. */
function rowStatistics(
  logits: ArrayLike<number>,
  first: number,
  classes: number,
): RowStatistics {
  let top = -Infinity, sum = 0, all = 0;
  for (let i = first; i < first + classes; i++) {
    top = Math.max(top, logits[i]!);
    all += logits[i]!;
  }
  for (let i = first; i < first + classes; i++) sum += Math.exp(logits[i]! - top);
  return { top, sum, log: Math.log(sum), mean: all / classes };
}

/** Parameters of the cross-entropy kernels. */
export type ClassParams = {
  /** The rows of logits. */
  rows: number;
  /** The classes, which is the length of a row. */
  classes: number;
  /** The target of rows that are left out. */
  ignoreIndex: number;
};

const crossEntropyCountSources = rowSources(crossEntropyCountWgsl);

/**
 * scale (1) = 1 / number of the targets (rows) that are not `ignoreIndex`, NaN if there are none.
 *
 * A target that is not a class throws a `RangeError` on the CPU. On a GPU, which cannot throw, the loss and the
 * gradient of its row become NaN.
 */
export const crossEntropyCount: Kernel<ClassParams> = kernel<ClassParams>({
  name: "cross_entropy_count",
  bindings: {
    targets: { read: "rows", dtype: "i32" },
    scale: { write: "1", dtype: "f32" },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32" },
  gpu: ({ rows }, target) =>
    rowProgram(crossEntropyCountSources, target, { rows: 1, columns: rows, passes: 1 }),
  cpu({ targets, scale }, { rows, classes, ignoreIndex }) {
    let count = 0;
    for (let row = 0; row < rows; row++) {
      const target = targets[row];
      if (target === ignoreIndex) continue;
      if (!(target >= 0 && target < classes)) {
        throw new RangeError(
          `crossEntropy: expected a class from 0 to ${classes - 1}` +
            (ignoreIndex < 0 || ignoreIndex >= classes ? ` or ${ignoreIndex} to ignore it` : "") +
            ` but got ${target} as the target of row ${row}`,
        );
      }
      count++;
    }
    scale[0] = count ? 1 / count : NaN;
  },
});

/** Parameters of {@linkcode crossEntropyMean}. */
export type CrossEntropyMeanParams = {
  /** The number of rows. */
  rows: number;
};

const crossEntropyMeanSources = rowSources(crossEntropyMeanWgsl);

/** mean (1) = scale (1) * sum of loss (rows). */
export const crossEntropyMean: Kernel<CrossEntropyMeanParams> = kernel<CrossEntropyMeanParams>({
  name: "cross_entropy_mean",
  bindings: {
    loss: { read: "rows", dtype: "f32" },
    scale: { read: "1", dtype: "f32" },
    mean: { write: "1", dtype: "f32" },
  },
  params: { rows: "u32" },
  gpu: ({ rows }, target) =>
    // A single pass, but in nested loops.
    rowProgram(crossEntropyMeanSources, target, { rows: 1, columns: rows, passes: 2 }),
  cpu({ loss, scale, mean }, { rows }) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += loss[row];
    mean[0] = sum * scale[0];
  },
});

const crossEntropyBackwardSources = rowSources(crossEntropyBackwardWgsl);

/**
 * dLogits (rows, classes) = (softmax(logits) - target distribution) * scale * dOut, 0 in ignored rows. sums (rows, 2) are
 * from `cross_entropy`; scale (1) is that of the sum of losses, whose gradient is dOut (1).
 */
export const crossEntropyBackward: Kernel<CrossEntropyParams> = kernel<CrossEntropyParams>({
  name: "cross_entropy_backward",
  bindings: {
    logits: { read: "rows classes" },
    targets: { read: "rows", dtype: "i32" },
    sums: { read: "rows 2", dtype: "f32" },
    scale: { read: "1", dtype: "f32" },
    dOut: { read: "1", dtype: "f32" },
    dLogits: { write: "rows classes" },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32", smoothing: "f32", known: "u32" },
  gpu: ({ rows, classes }, target) =>
    rowProgram(crossEntropyBackwardSources, target, {
      rows,
      columns: classes,
      passes: 1,
      axis: "classes",
    }),
  cpu(views, { rows, classes, ignoreIndex, smoothing }) {
    const { logits, targets, sums, scale, dOut, dLogits } = views;
    const factor = scale[0] * dOut[0];
    for (let row = 0; row < rows; row++) {
      const first = row * classes;
      if (targets[row] === ignoreIndex) {
        dLogits.fill(0, first, first + classes);
        continue;
      }
      for (let i = 0; i < classes; i++) {
        const hot = i === targets[row] ? 1 - smoothing : 0;
        const p = Math.exp(logits[first + i] - sums[2 * row]) / sums[2 * row + 1];
        dLogits[first + i] = (p - smoothing / classes - hot) * factor;
      }
    }
  },
  simd(job) {
    const { at, params: { rows, classes, ignoreIndex, smoothing }, run } = job;
    // deno-fmt-ignore
    run("cross_entropy_backward", rows, rowChunk(classes), at.logits!, classes, at.targets!, at.sums!,
      at.dLogits!, classes, ignoreIndex, smoothing, numberAt(job, at.dOut!), at.scale!, 0);
    return true;
  },
  split: "rows",
});

const crossEntropyFusedSources = rowSources(crossEntropyFusedWgsl);

/**
 * loss (rows) from logits (rows, classes) and targets (rows); the logits are overwritten by their gradient,
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
    rowProgram(crossEntropyFusedSources, target, {
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
    run("cross_entropy_fused", rows, rowChunk(classes), at.logits!, classes, at.targets!, at.loss!, 0,
      classes, ignoreIndex, smoothing, 1, at.scale!, 0);
    return true;
  },
  split: "rows",
});

/** Parameters of {@linkcode crossEntropyScale}. */
export type CrossEntropyScaleParams = {
  /** The number of elements. */
  count: number;
  /** 1 to add to the content of y. */
  accumulate: number;
};

/** y (count) = scale (1) * x (count), or y + scale * x; computed in f32. */
export const crossEntropyScale: Kernel<CrossEntropyScaleParams> = kernel<CrossEntropyScaleParams>({
  name: "cross_entropy_scale",
  bindings: {
    scale: { read: "1", dtype: "f32" },
    x: { read: "count" },
    y: { update: "count" },
  },
  params: { count: "u32", accumulate: "u32" },
  gpu: ({ count }) => {
    const vec4 = count % 4 === 0 && "count";
    return {
      wgsl: crossEntropyScaleWgsl,
      vec4,
      workgroups: Math.ceil(count / (vec4 ? 1024 : 256)),
    };
  },
  cpu({ scale, x, y }, { count, accumulate }) {
    for (let i = 0; i < count; i++) y[i] = scale[0] * x[i] + (accumulate ? y[i] : 0);
  },
  simd(job) {
    const { at, params: { count, accumulate }, run } = job;
    const factor = numberAt(job, at.scale!);
    if (accumulate) run("axpy", count, 16384, factor, at.x!, at.y!);
    else run("mul_scalar", count, 16384, at.x!, factor, at.y!);
    return true;
  },
  split: "count",
});
