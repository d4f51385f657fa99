/**
 * Activation recomputation (gradient checkpointing): less memory for more computation.
 *
 * @module
 */
import { constant } from "./create.ts";
import { defaultRandom, type RandomState } from "./random.ts";
import { currentScope, scoped } from "./scope.ts";
import { enableGrad, needsGrad, noGrad, record } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/** Options of {@linkcode recompute}. */
export interface RecomputeOptions {
  /** The random stream that the body draws from, besides the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/**
 * Returns `body(...inputs)`, but keeps only the inputs for the backward pass, which runs the body again to get what its
 * gradient needs. With a transformer block as the body, the activations in memory shrink from those of all blocks to
 * one tensor per block plus those of a single block. A step takes about a third longer. (Chen et al. 2016, "Training
 * Deep Nets with Sublinear Memory Cost".)
 *
 * The body must be synchronous, make one tensor, and do the same each time. Random numbers are drawn again from where
 * the streams were, so dropout repeats. Gradients of parameters used in the body are added to them as usual. On the CPU
 * device, gradients are bit for bit those of `body(...inputs)`, except that gradients of a tensor that is also used
 * outside the body may be summed in another order.
 *
 * If no input requires a gradient, this is just `body(...inputs)`. Throws a `TypeError` if the body returns one of its
 * inputs.
 *
 * @example
 * ```ts
 * import { CpuDevice, gelu, mul, recompute, scoped, sum, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2], { device });
 * x.requiresGrad = true;
 * scoped(() => sum(recompute((x) => gelu(mul(x, x)), [x])).backward());
 * const expected = await x.grad!.data();
 * x.grad = null;
 * scoped(() => sum(gelu(mul(x, x))).backward());
 * assert.deepEqual(await x.grad!.data(), expected);
 * ```
 */
export function recompute(
  body: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  options?: RecomputeOptions,
): Tensor {
  if (!needsGrad(inputs)) return scoped(() => body(...inputs));
  const streams = [...new Set([defaultRandom(), options?.random ?? defaultRandom()])];
  const begin = streams.map((stream) => stream.state());
  const output = noGrad(() =>
    scoped(() => {
      const made = body(...inputs);
      if (inputs.includes(made)) {
        throw new TypeError("recompute: expected a result that the body made but got an input");
      }
      return made.alias(); // the body's result may have a gradient of its own
    })
  );
  return record("recompute", inputs, output, inputs, (outputGrad, saved, wanted) => {
    const leaves = saved.map((tensor, i) => {
      const leaf = tensor.alias();
      if (wanted[i]) leaf.requiresGrad = true;
      return leaf;
    });
    const now = streams.map((stream) => stream.state());
    streams.forEach((stream, i) => stream.restore(begin[i]!));
    try {
      enableGrad(() =>
        scoped(() => {
          const again = body(...leaves);
          if (again.node) again.backward(outputGrad);
        })
      );
    } finally {
      streams.forEach((stream, i) => stream.restore(now[i]!));
    }
    return leaves.map((leaf, i) => wanted[i] ? takeGrad(leaf) : null);
  });
}

/** The gradient of a leaf, handed over to the scope; zeros if it has none. */
function takeGrad(leaf: Tensor): Tensor {
  const { grad } = leaf;
  if (!grad) return constant(leaf.device, leaf.shape, 0, leaf.dtype);
  leaf.grad = null;
  grad.moveTo(currentScope());
  return grad;
}
