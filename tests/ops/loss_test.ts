import assert from "node:assert/strict";
import {
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  huberLoss,
  klDiv,
  l1Loss,
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

await onEachDevice("l1Loss() and huberLoss() grow linearly", async (device) => {
  const x = { shape: [5], values: [-3, 0.25, 1, 2.5, 6] };
  const target = { shape: [5], values: [1, 0, 1.5, -2, 5.5] };
  const differences = (x: Float64Array, t: Float64Array) =>
    [...x].map((v, i) => Math.abs(v - t[i]));
  for (const reduction of reductions) {
    await assertReference(
      device,
      [x, target],
      (x, target) => l1Loss(x, target, { reduction }),
      (x, t) => joined(differences(x, t), reduction),
      reduction,
    );
    for (const delta of [0.4, 1]) {
      await assertReference(
        device,
        [x, target],
        (x, target) => huberLoss(x, target, { reduction, delta }),
        (x, t) =>
          joined(
            differences(x, t).map((d) => d <= delta ? d * d / 2 : delta * (d - delta / 2)),
            reduction,
          ),
        `${reduction}, delta ${delta}`,
      );
    }
  }
});

await onEachDevice("huberLoss() and l1Loss() of equal numbers have no slope", async (device) => {
  using _scope = new Scope();
  const x = tensor([1, 2], { device }), target = tensor([1, 1], { device });
  for (const [loss, slopes] of [[l1Loss, [0, 1]], [huberLoss, [0, 1]]] as const) {
    x.grad = null;
    x.requiresGrad = true;
    loss(x, target, { reduction: "sum" }).backward();
    assert.deepEqual(await x.grad!.toArray(), slopes, loss.name);
  }
});

await onEachDevice("klDiv() of probabilities and of their logarithms", async (device) => {
  const x = { shape: [2, 3], values: [-1.5, -0.5, -2, -0.25, -3, -1] };
  const target = { shape: [2, 3], values: [0.2, 0.5, 0.3, 0.7, 0.2, 0.1] };
  for (const reduction of [...reductions, "batchmean"] as const) {
    const combined = (losses: number[]) =>
      reduction === "batchmean"
        ? joined(losses, "sum").map((sum) => sum / 2)
        : joined(losses, reduction);
    await assertReference(
      device,
      [x, target],
      (x, target) => klDiv(x, target, { reduction }),
      (x, t) => combined([...x].map((x, i) => t[i] * (Math.log(t[i]) - x))),
      reduction,
    );
    await assertReference(
      device,
      [x, { shape: [2, 3], values: [-1, -2, -0.5, -4, -1.5, -0.1] }],
      (x, target) => klDiv(x, target, { reduction, logTarget: true }),
      (x, t) => combined([...x].map((x, i) => Math.exp(t[i]) * (t[i] - x))),
      `${reduction} of logarithms`,
    );
  }
  using _scope = new Scope();
  const certain = tensor([0, 1], { device });
  const uniform = tensor([-Math.LN2, -Math.LN2], { device });
  uniform.requiresGrad = true;
  const loss = klDiv(uniform, certain, { reduction: "sum" });
  assertClose(await loss.data(), [Math.LN2], 1e-6);
  loss.backward();
  assert.deepEqual((await uniform.grad!.data()).map((slope) => slope || 0), Float32Array.of(0, -1));
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
  assert.throws(
    () => klDiv(x, x, { reduction: "max" as "mean" }),
    /klDiv: expected reduction "mean", "batchmean", "sum" or "none" but got "max"/,
  );
  assert.throws(() => huberLoss(x, x, { delta: 0 }), /huberLoss: expected delta above 0 but got 0/);
});
