/**
 * Activation recomputation: less memory for more work.
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
  /** The stream that the body draws from, beside the shared one (see `manualSeed`). */
  readonly random?: RandomState | undefined;
}

/**
 * `body(...inputs)`, of which only the inputs are kept for the backward pass: it runs the body once more to get
 * what its gradient needs. With a block of a transformer as the body, the memory for activations falls from all
 * that every block makes to one tensor a block and all that a single block makes; a step takes about a third
 * longer. (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".)
 *
 * The body is synchronous, makes one tensor, and does the same each time: the random numbers are drawn again
 * from where the streams stood, so that dropout repeats. Gradients of parameters that the body uses are added
 * to them as ever. On the CPU device the gradients are bit for bit those of `body(...inputs)`; a tensor
 * that is used outside the body, too, may have its gradients summed in another order.
 *
 * Where no input requires a gradient, this is `body(...inputs)`. Throws a `TypeError` for a body that returns
 * one of its inputs.
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
      return made.alias(); // what the body returned may have a gradient of its own
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

/** The gradient of a leaf, handed over to the scope; zeros where none reached it. */
function takeGrad(leaf: Tensor): Tensor {
  const { grad } = leaf;
  if (!grad) return constant(leaf.device, leaf.shape, 0, leaf.dtype);
  leaf.grad = null;
  grad.moveTo(currentScope());
  return grad;
}
