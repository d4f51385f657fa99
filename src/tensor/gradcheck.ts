/**
 * Checking gradients against finite differences.
 *
 * @module
 */
import { tensor } from "./create.ts";
import { Scope } from "./scope.ts";
import { formatShape } from "./shape.ts";
import { noGrad } from "./tape.ts";
import { readTensors, type Tensor } from "./tensor.ts";

/** Options of {@linkcode gradcheck}. */
export interface GradcheckOptions {
  /**
   * The step of the finite differences: added to an element and subtracted from it. Default: 0.01, since f32 has seven
   * digits.
   */
  readonly eps?: number;
  /** The relative tolerance. Default: 0.01. */
  readonly rtol?: number;
  /** The absolute tolerance, added to the relative one. Default: 0.001. */
  readonly atol?: number;
}

/**
 * Compares the gradient of an operation with central differences of its output, summed with fixed weights, like
 * `torch.autograd.gradcheck` but in f32. It checks every element of the inputs that require a gradient; these must be
 * `f32`. The inputs and their gradients are not changed. It calls `operation` twice per element, so use few elements,
 * and none at a kink, such as `relu` at 0.
 *
 * Rejects with an `Error` that names the first element whose gradient differs, or with a `TypeError` if no input
 * requires a gradient or one that does is not `f32`.
 *
 * @example
 * ```ts
 * import { CpuDevice, mul, noGrad, type Tensor, tensor } from "@dinograd/dinograd";
 * import { gradcheck, record } from "@dinograd/dinograd/kernel";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2, 3], { device });
 * x.requiresGrad = true;
 * const square = (x: Tensor, factor: number) =>
 *   record("square", [x], noGrad(() => mul(x, x)), [x], (dOut, [x]) => [mul(dOut, mul(x, factor))]);
 * await gradcheck((x) => square(x, 2), [x]);
 * await assert.rejects(gradcheck((x) => square(x, 3), [x]), /gradcheck: expected the gradient 1\.68.* of input 0/);
 * ```
 */
export async function gradcheck(
  operation: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  options?: GradcheckOptions,
): Promise<void> {
  const { eps = 1e-2, rtol = 1e-2, atol = 1e-3 } = options ?? {};
  const checked = inputs.flatMap((input, i) => input.requiresGrad ? [i] : []);
  const other = inputs.find(({ requiresGrad, dtype }) => requiresGrad && dtype !== "f32");
  if (checked.length === 0 || other) {
    throw new TypeError(
      `gradcheck: expected inputs of f32 that require a gradient but got ${other ?? "none"}`,
    );
  }
  using _scope = new Scope();
  const values = await readTensors(checked.map((i) => inputs[i]!));
  /** The inputs, those that are checked replaced by copies with `values`. */
  const copies = () =>
    inputs.map((input, i) => {
      const { device, shape } = input;
      return input.requiresGrad
        ? tensor(values[checked.indexOf(i)]!, { device, shape, dtype: "f32" })
        : input;
    });

  const own = copies();
  checked.forEach((i) => own[i]!.requiresGrad = true);
  const output = operation(...own);
  const weights = Float32Array.from({ length: output.size }, (_, i) => Math.sin(i + 1));
  output.backward(tensor(weights, { device: output.device, shape: output.shape }));
  const grads = await Promise.all(checked.map((i) => own[i]!.grad?.data()));

  const weighted = async () => {
    using _scope = new Scope();
    const found = await noGrad(() => operation(...copies())).data();
    return weights.reduce((sum, weight, i) => sum + weight * found[i]!, 0);
  };
  for (const [n, i] of checked.entries()) {
    const numbers = values[n]!;
    for (let at = 0; at < numbers.length; at++) {
      const value = numbers[at]!;
      const [above, below] = [Math.fround(value + eps), Math.fround(value - eps)];
      numbers[at] = above;
      const upper = await weighted();
      numbers[at] = below;
      const lower = await weighted();
      numbers[at] = value;
      const expected = (upper - lower) / (above - below);
      const got = grads[n]?.[at] ?? 0;
      if (Math.abs(got - expected) <= atol + rtol * Math.abs(expected)) continue;
      throw new Error(
        `gradcheck: expected the gradient ${expected.toPrecision(6)} of input ${i} ` +
          `${formatShape(inputs[i]!.shape)} at element ${at}, by finite differences, but got ${
            got.toPrecision(6)
          }`,
      );
    }
  }
}
