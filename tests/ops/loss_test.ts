import assert from "node:assert/strict";
import {
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  type LossOptions,
  mseLoss,
} from "../../src/ops/loss.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { assertReference } from "../support/reference.ts";

const reductions = ["mean", "sum", "none"] as const;

/** The losses of elements, joined. */
function joined(losses: number[], reduction: LossOptions["reduction"]): number[] {
  if (reduction === "none") return losses;
  const total = losses.reduce((sum, loss) => sum + loss, 0);
  return [reduction === "mean" ? total / losses.length : total];
}

await onEachDevice("mseLoss() is the squared difference", async (device) => {
  for (const reduction of reductions) {
    await assertReference(
      device,
      [{ shape: [3, 5] }, { shape: [3, 5] }],
      (x, target) => mseLoss(x, target, { reduction }),
      (x, target) => joined([...x].map((value, i) => (value - target[i]) ** 2), reduction),
      reduction,
    );
  }
});

const probabilities = { shape: [6], values: [0.01, 0.2, 0.5, 0.7, 0.99, 0.4] };
const targets = { shape: [6], values: [0, 1, 0.25, 0.9, 1, 0.1] };

await onEachDevice("binaryCrossEntropy() and its gradients", async (device) => {
  for (const reduction of reductions) {
    await assertReference(
      device,
      [probabilities, targets],
      (p, target) => binaryCrossEntropy(p, target, { reduction }),
      (p, t) =>
        joined(
          [...p].map((p, i) => -(t[i] * Math.log(p) + (1 - t[i]) * Math.log(1 - p))),
          reduction,
        ),
      reduction,
    );
  }
});

await onEachDevice("binaryCrossEntropy() stays finite where PyTorch does", async (device) => {
  using _scope = new Scope();
  const p = tensor([0, 1, 0, 1], { device });
  const target = tensor([1, 0, 0, 1], { device });
  p.requiresGrad = true;
  const losses = binaryCrossEntropy(p, target, { reduction: "none" });
  assertClose(await losses.data(), [100, 100, 0, 0], 0);
  const outside = tensor([-0.5, 1.5, NaN, -2], { device });
  const none = binaryCrossEntropy(outside, target, { reduction: "none" });
  assert.deepEqual(await none.toArray(), [NaN, NaN, NaN, NaN]);
  binaryCrossEntropy(p, target, { reduction: "sum" }).backward();
  // torch.nn.functional.binary_cross_entropy: (p - t) / max(p (1 - p), 1e-12)
  assertClose(await p.grad!.data(), [-1e12, 1e12, 0, 0], 1e-5);
});

await onEachDevice("binaryCrossEntropyWithLogits() weighs positives", async (device) => {
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  for (const posWeight of [1, 3]) {
    await assertReference(
      device,
      [{ shape: [6], values: [-30, -2, 0, 0.5, 4, 30] }, targets],
      (x, target) => binaryCrossEntropyWithLogits(x, target, { reduction: "none", posWeight }),
      (x, t) => [...x].map((x, i) => posWeight * t[i] * softplus(-x) + (1 - t[i]) * softplus(x)),
      `weight ${posWeight}`,
    );
  }
  using _scope = new Scope();
  const logits = tensor([[1000, -1000], [0, 0]], { device });
  const target = tensor([[1, 0], [1, 1]], { device });
  const posWeight = tensor([1, 2], { device });
  const losses = binaryCrossEntropyWithLogits(logits, target, { reduction: "none", posWeight });
  assertClose(await losses.data(), [0, 0, Math.log(2), 2 * Math.log(2)], 1e-6);
});

await onEachDevice("losses of elements in f16", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const p = tensor(probabilities.values, { device, dtype: "f16" });
  const target = tensor(targets.values, { device, dtype: "f16" });
  p.requiresGrad = true;
  const loss = binaryCrossEntropy(p, target);
  assert.equal(loss.dtype, "f16");
  const single = binaryCrossEntropy(
    tensor(probabilities.values, { device }),
    tensor(targets.values, { device }),
  );
  assertClose(await loss.data(), await single.data(), 2e-3);
  loss.backward();
  assert.ok((await p.grad!.data()).every(Number.isFinite));
});

await onEachDevice("losses of elements refuse what does not fit", (device) => {
  using _scope = new Scope();
  const x = tensor([1, 2], { device });
  const ids = tensor([1, 2], { device, dtype: "i32" });
  assert.throws(
    () => mseLoss(x, tensor([1], { device })),
    /^TypeError: mseLoss: expected one shape but got \[2\] and \[1\]$/,
  );
  assert.throws(() => mseLoss(x, ids), /mseLoss: expected f32 or f16 but got/);
  assert.throws(() => binaryCrossEntropy(ids, ids), /binaryCrossEntropy: expected f32 or f16/);
  assert.throws(
    () => binaryCrossEntropyWithLogits(x, x, { reduction: "max" as "mean" }),
    /binaryCrossEntropyWithLogits: expected reduction "mean", "sum" or "none" but got "max"/,
  );
});
