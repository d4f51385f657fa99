import assert from "node:assert/strict";
import { loadLoRA } from "../../src/pretrained/lora_files.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { dpoLoss } from "../../src/train/dpo.ts";
import { reshape } from "../../src/ops/shape.ts";
import numbers from "../golden/lora/numbers.json" with { type: "json" };
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

for (const kind of ["gpt2", "llama"] as const) {
  await onEachDevice(`DPO's loss and gradients are PyTorch's, in ${kind}`, async (device) => {
    using _scope = new Scope();
    const folder = new URL(`../golden/lora/${kind}`, import.meta.url);
    using model = await loadModel(folder, { device });
    using adapter = await loadLoRA(folder, model);
    const expected = numbers[kind];
    const ids = tensor(numbers.ids, { device, dtype: "i32" });
    const targets = tensor(
      numbers.ids.map((row, b) => row.map((_, t) => numbers.learned[b][t + 1] ? row[t + 1] : -100)),
      { device, dtype: "i32" },
    );
    const policy = model.logProbs(ids, targets);
    assertClose(await policy.data(), expected.logps, 1e-5);
    const reference = adapter.without(() => noGrad(() => model.logProbs(ids, targets)));
    assertClose(await reference.data(), expected.reference, 1e-5);
    const loss = dpoLoss(reshape(policy, [1, 2]), reshape(reference, [1, 2]), {
      beta: expected.beta,
    });
    assertClose(await loss.data(), [expected.dpo], 1e-5);
    loss.backward();
    const grads = expected.dpoGrads as Record<string, number[]>;
    for (const [name, { grad }] of adapter.parameters()) {
      assertClose(await grad!.data(), grads[name] ?? grads[`transformer.${name}`], 1e-4, name);
    }
  });
}

await onEachDevice(
  "dpoLoss() is the mean over pairs, also where they are far apart",
  async (device) => {
    using _scope = new Scope();
    const policy = tensor([[-10, -12], [-300, -10], [-1, -500]], { device });
    const reference = tensor([[-11, -11], [-20, -20], [-2, -3]], { device });
    policy.requiresGrad = true;
    const loss = dpoLoss(policy, reference, { beta: 0.5 });
    const margins = [2, -290, 498].map((margin) => 0.5 * margin);
    const expected = margins.map((margin) =>
      Math.log1p(Math.exp(-Math.abs(margin))) + Math.max(-margin, 0)
    );
    assertClose(await loss.data(), [expected.reduce((a, b) => a + b) / 3], 1e-6);
    loss.backward();
    const slopes = margins.map((margin) => -0.5 / (1 + Math.exp(margin)) / 3);
    assertClose(await policy.grad!.data(), slopes.flatMap((slope) => [slope, -slope]), 1e-6);
    assert.throws(
      () => dpoLoss(policy, reference, { beta: 0 }),
      /RangeError: dpoLoss: expected a beta/,
    );
    assert.throws(
      () => dpoLoss(reshape(policy, [2, 3]), reference),
      /TypeError: dpoLoss: expected/,
    );
  },
);
