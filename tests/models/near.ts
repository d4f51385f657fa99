/** Comparing what models give. */
import assert from "node:assert/strict";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";

/** The largest difference between elements of tensors of one shape. */
export async function difference(a: Tensor, b: Tensor): Promise<number> {
  assert.deepEqual(a.shape, b.shape);
  const [x, y] = (await readTensors([a, b])).map((values) => Array.from(values));
  return x.reduce((worst, value, i) => Math.max(worst, Math.abs(value - y[i])), 0);
}

/** Throws unless the tensors have one shape and nearly the same elements. */
export async function assertNear(a: Tensor, b: Tensor, tolerance = 1e-5): Promise<void> {
  const worst = await difference(a, b);
  assert.ok(worst <= tolerance, `they differ by ${worst}, more than ${tolerance}`);
}
