/**
 * What the cross-entropy of a row counts in the mean.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./cross_entropy_count.wgsl" with { type: "text" };
import { rowProgram, rowSources } from "./rows.ts";

/** Numbers of the cross-entropy kernels. */
export type ClassParams = {
  /** Rows of logits. */
  rows: number;
  /** Classes, the length of a row. */
  classes: number;
  /** Rows with this target are left out. */
  ignoreIndex: number;
};

const sources = rowSources(wgsl);

/**
 * scale (1) = 1 / number of the targets (rows) that are not `ignoreIndex`, NaN when there are none.
 *
 * On the CPU a target that is no class is a `RangeError`; a GPU cannot throw, there the loss and the
 * gradient of such a row become NaN.
 */
export const crossEntropyCount: Kernel<ClassParams> = kernel<ClassParams>({
  name: "cross_entropy_count",
  bindings: {
    targets: { read: "rows", dtype: "i32" },
    scale: { write: "1", dtype: "f32" },
  },
  params: { rows: "u32", classes: "u32", ignoreIndex: "i32" },
  gpu: ({ rows }, target) => rowProgram(sources, target, { rows: 1, columns: rows, passes: 1 }),
  cpu({ targets, scale }, { rows, classes, ignoreIndex }) {
    let count = 0;
    for (let row = 0; row < rows; row++) {
      const target = targets[row];
      if (target === ignoreIndex) continue;
      if (!(target >= 0 && target < classes)) {
        throw new RangeError(
          `cross-entropy: the target of row ${row} is ${target}, expected a class from 0 to ${
            classes - 1
          }` + (ignoreIndex < 0 || ignoreIndex >= classes ? ` or ${ignoreIndex} to ignore it` : ""),
        );
      }
      count++;
    }
    scale[0] = count ? 1 / count : NaN;
  },
});
