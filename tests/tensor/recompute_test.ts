// Recomputation: the gradients of an ordinary step, bit for bit, in less memory.
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { LLaMA } from "../../src/models/llama.ts";
import type { ForwardOptions } from "../../src/nn/forward_options.ts";
import { exp, mul } from "../../src/ops/elementwise.ts";
import { dropout } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { manualSeed, RandomState } from "../../src/tensor/random.ts";
import { recompute } from "../../src/tensor/recompute.ts";
import { Scope, scoped } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

const sizes = {
  vocabSize: 61,
  maxPositionEmbeddings: 64,
  hiddenSize: 32,
  numHiddenLayers: 4,
  numAttentionHeads: 4,
};

interface Model {
  parameters(): ReadonlyMap<string, Tensor>;
  loss(ids: Tensor, targets: Tensor, options: ForwardOptions): Tensor;
  dispose(): void;
}

/** Two backward passes, one upon the other: loss, gradients, the peak above what lived, the stream's end. */
async function trained(device: Device, model: Model, recompute: boolean) {
  const random = new RandomState(9);
  const shape = [4, sizes.maxPositionEmbeddings];
  const values = Int32Array.from(
    { length: 4 * sizes.maxPositionEmbeddings },
    (_, i) => (i * i + 3 * i) % 61,
  );
  using _scope = new Scope();
  const ids = tensor(values, { shape, device });
  const targets = tensor(values.map((id) => (id * 5 + 1) % 61), { shape, device });
  const { live } = device.memory();
  device.resetPeak();
  const losses = [1, 2].map(() => {
    const loss = model.loss(ids, targets, { dropout: random, recompute });
    loss.backward();
    return loss;
  });
  const peak = device.memory().peak - live;
  const parameters = [...model.parameters().values()];
  const read = await readTensors([...losses, ...parameters.map((parameter) => parameter.grad!)]);
  for (const parameter of parameters) {
    parameter.grad!.dispose();
    parameter.grad = null;
  }
  return { values: read, peak, state: random.state() };
}

for (
  const [name, create] of [
    [
      "GPT2",
      (device: Device): Model =>
        new GPT2({ ...sizes, dropout: 0.2 }, { device, random: new RandomState(3) }),
    ],
    [
      "LLaMA",
      (device: Device): Model =>
        new LLaMA({ ...sizes, attentionDropout: 0.3 }, { device, random: new RandomState(3) }),
    ],
  ] as const
) {
  await onEachDevice(`recompute() in ${name}: the same gradients, less memory`, async (device) => {
    const model = create(device);
    const ordinary = await trained(device, model, false);
    const before = device.memory();
    const again = await trained(device, model, true);
    assertSame(again.values, ordinary.values);
    assert.deepEqual(again.state, ordinary.state);
    assert.ok(again.peak < ordinary.peak / 2, `peak ${again.peak}, without ${ordinary.peak}`);
    const { live, buffers } = device.memory();
    assert.deepEqual([live, buffers], [before.live, before.buffers], "memory is left behind");
    model.dispose();
  });
}

await onEachDevice(
  "recompute() leaves other streams, and what has no gradient, alone",
  async (device) => {
    using _scope = new Scope();
    const x = tensor(Float32Array.from({ length: 64 }, (_, i) => i / 64), { device });
    const body = (x: Tensor) => dropout(exp(x), 0.5);
    manualSeed(5);
    const plain = body(x);
    manualSeed(5);
    const same = recompute(body, [x]);
    assert.equal(same.node, null);
    assert.deepEqual(await same.data(), await plain.data());

    x.requiresGrad = true;
    manualSeed(5);
    const y = recompute(body, [x]);
    const after = dropout(x, 0.5); // draws between the forward and the backward pass
    sum(y).backward();
    assert.deepEqual(await x.grad!.data(), await plain.data()); // exp is its own gradient
    const next = dropout(x, 0.5);
    manualSeed(5);
    body(x);
    assert.deepEqual(await dropout(x, 0.5).data(), await after.data());
    assert.deepEqual(await dropout(x, 0.5).data(), await next.data());
    assert.equal(noGrad(() => recompute(body, [x])).node, null);
  },
);

await onEachDevice("recompute() of several inputs, one of them unused", async (device) => {
  using _scope = new Scope();
  const [a, b, unused] = [[2, 3], [5, 7], [1, 1]].map((values) => {
    const leaf = tensor(values, { device });
    leaf.requiresGrad = true;
    return leaf;
  });
  const made = scoped(() => recompute((a, b) => mul(mul(a, b), a), [a, b, unused]));
  sum(made).backward();
  assert.deepEqual([...await a.grad!.data()], [20, 42]);
  assert.deepEqual([...await b.grad!.data()], [4, 9]);
  assert.deepEqual([...await unused.grad!.data()], [0, 0]);
  assert.throws(() => recompute((a) => a, [a]), /a result that the body made but got an input/);
  assert.throws(() => sum(made).backward(), /not gone through yet/);
});
