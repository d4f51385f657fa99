import assert from "node:assert/strict";
import { exp, mul } from "../../src/ops/elementwise.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { gradcheck } from "../../src/tensor/gradcheck.ts";
import { noGrad, record } from "../../src/tensor/tape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { onEachDevice } from "../support/devices.ts";

/** exp(x) scale, whose gradient of `scale` is wrong by `factor`. */
function scaled(x: Tensor, scale: Tensor, factor: number): Tensor {
  const y = noGrad(() => mul(exp(x), scale));
  return record("scaled", [x, scale], y, [x, scale], (dOut, [x, scale], [wantX, wantScale]) => [
    wantX ? mul(dOut, mul(exp(x), scale)) : null,
    wantScale ? mul(sum(mul(dOut, exp(x)), 0), factor) : null,
  ]);
}

await onEachDevice("gradcheck() passes right gradients and names a wrong one", async (device) => {
  using x = tensor([[0.5, -1], [2, 0]], { device });
  using scale = tensor([3, -2], { device });
  await assert.rejects(
    gradcheck((x) => mul(x, 2), [x]),
    /gradcheck: expected inputs of f32 that require a gradient but got none/,
  );
  x.requiresGrad = true;
  await gradcheck((x, scale) => scaled(x, scale, 1.5), [x, scale]); // nobody asks for that of scale
  scale.requiresGrad = true;
  await gradcheck((x, scale) => scaled(x, scale, 1), [x, scale]);
  await assert.rejects(
    gradcheck((x, scale) => scaled(x, scale, 1.5), [x, scale]),
    /gradcheck: expected the gradient 2\.430\d* of input 1 \[2\] at element 0, by finite .* but got 3\.64/,
  );
  assert.equal(x.grad, null);
  assert.deepEqual(await scale.toArray(), [3, -2]);
});
