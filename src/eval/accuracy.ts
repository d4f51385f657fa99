/**
 * Accuracy: how often the highest score is the right one.
 *
 * @module
 */
import { cast, equal, logicalAnd, notEqual } from "../ops/elementwise.ts";
import { argmax, sum } from "../ops/reduce.ts";
import { reshape } from "../ops/shape.ts";
import { scoped } from "../tensor/scope.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Options of {@linkcode accuracy}. */
export interface AccuracyOptions {
  /** Targets of this value are ignored, such as `<PAD>`. Default: none is. */
  readonly ignoreIndex?: number;
}

/** The counts of {@linkcode accuracy}: two scalars on the device, so nothing has to wait for them. */
export interface Accuracy {
  /** The number of targets with the highest score; a scalar, `f32`. */
  readonly correct: Tensor;
  /** The number of targets that were counted; a scalar, `f32`. */
  readonly count: Tensor;
}

/**
 * Counts how often the highest of the scores `logits` (..., V) is that of `targets` (...), class ids, `i32`. The
 * accuracy is `correct / count`; over several batches it is the quotient of their sums, which one `readTensors` reads.
 * Among equal scores the first wins. It has no gradient.
 *
 * Throws a `TypeError` if the shapes do not match or the targets are not `i32`.
 *
 * @example
 * ```ts
 * import { accuracy, CpuDevice, readTensors, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using logits = tensor([[1, 5, 0], [2, 1, 0], [0, 1, 9], [7, 0, 0]], { device });
 * using targets = tensor([1, 2, 2, 0], { device, dtype: "i32" });
 * const { correct, count } = accuracy(logits, targets, { ignoreIndex: 0 });
 * assert.deepEqual((await readTensors([correct, count])).map(([n]) => n), [2, 3]);
 * ```
 */
export function accuracy(
  logits: Tensor,
  targets: Tensor,
  options?: AccuracyOptions,
): Accuracy {
  const classes = logits.shape.at(-1);
  if (classes === undefined || !sameShape(logits.shape.slice(0, -1), targets.shape)) {
    throw new TypeError(
      `accuracy: expected logits (..., V) and targets (...) but got ${formatShape(logits.shape)} ` +
        `and ${formatShape(targets.shape)}`,
    );
  }
  if (targets.dtype !== "i32") {
    throw new TypeError(`accuracy: expected targets of i32 but got ${targets.dtype}`);
  }
  const { ignoreIndex } = options ?? {};
  return noGrad(() =>
    scoped(() => {
      const rows = reshape(logits, [targets.size, classes]);
      const wanted = reshape(targets, [targets.size]);
      // No id is below 0, so without an `ignoreIndex` all of them count.
      const counted = notEqual(wanted, ignoreIndex ?? -1);
      const right = logicalAnd(equal(argmax(rows, -1), wanted), counted);
      const [correct, count] = [sum(cast(right, "f32")), sum(cast(counted, "f32"))];
      return { correct, count };
    })
  );
}
