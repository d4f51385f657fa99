/**
 * Holds an operation and its gradients to a function in double precision.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { mul } from "../../src/ops/elementwise.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { type Shape, sizeOf } from "../../src/tensor/shape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { random } from "../kernels/case.ts";
import { assertClose } from "./compare.ts";

/** An argument: its shape with random values, or with these. */
export interface Argument {
  readonly shape: Shape;
  readonly values?: readonly number[];
}

/** Random values in the shape of an argument, or its own, as f32 holds them. */
function valuesOf({ shape, values }: Argument, seed: number): Float64Array {
  return Float64Array.from(values ? values.map(Math.fround) : random(sizeOf(shape), 2, seed));
}

/**
 * Throws unless `run` gives what `reference` gives of the same numbers, to 1e-5 of the largest, and gradients of a
 * weighted sum of the results, by central differences, to 1e-4. Arguments are f32 and all get a gradient.
 */
export async function assertReference(
  device: Device,
  args: readonly Argument[],
  run: (...args: Tensor[]) => Tensor,
  reference: (...args: Float64Array[]) => ArrayLike<number>,
  what = "",
): Promise<void> {
  using _scope = new Scope();
  const values = args.map((one, i) => valuesOf(one, i + 1));
  const tensors = args.map(({ shape }, i) => tensor(values[i], { shape, device }));
  for (const leaf of tensors) leaf.requiresGrad = true;
  const found = run(...tensors);
  const expected = reference(...values);
  assertClose(await found.data(), expected, 1e-5, `${what} values`);
  const weights = random(found.size, 1, 99);
  sum(mul(found, tensor(weights, { shape: found.shape, device }))).backward();
  const weighted = (args: Float64Array[]): number =>
    Array.from(reference(...args)).reduce((total, y, i) => total + y * weights[i], 0);
  const STEP = 1e-5;
  for (const [k, leaf] of tensors.entries()) {
    const slopes = Array.from(values[k], (_, i) => {
      const shifted = (by: number) => values.map((of, j) => j === k ? of.with(i, of[i] + by) : of);
      return (weighted(shifted(STEP)) - weighted(shifted(-STEP))) / (2 * STEP);
    });
    if (!leaf.grad) throw new Error(`${what}: argument ${k} has no gradient`);
    assertClose(await leaf.grad.data(), slopes, 1e-4, `${what} gradient ${k}`);
  }
}
