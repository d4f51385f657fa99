import assert from "node:assert/strict";
import type { TypedArray } from "../../src/device/dtype.ts";
import type { Device } from "../../src/device/device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { Linear } from "../../src/nn/layers.ts";
import { applyLoRA, type LoRA } from "../../src/nn/lora.ts";
import { Module } from "../../src/nn/module.ts";
import { assignFloats } from "../../src/nn/state_dict.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { cast } from "../../src/ops/elementwise.ts";
import { randn } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope, scoped } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

const SIZES = {
  vocabSize: 24,
  maxPositionEmbeddings: 8,
  hiddenSize: 16,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
};
const IDS = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]];
const TARGETS = [[1, 4, 1, 5, 9], [2, 6, 5, 3, 5]];

const newGPT2 = (device: Device) =>
  new GPT2({ ...SIZES, dropout: 0.1 }, { device, random: new RandomState(7) });
const newLLaMA = (device: Device) =>
  new LLaMA({ ...SIZES, numKeyValueHeads: 2 }, { device, random: new RandomState(7) });

const idsOn = (device: Device) => tensor(IDS, { device, dtype: "i32" });
const lossOf = (model: GPT2 | LLaMA, recompute = false) =>
  model.loss(idsOn(model.device), tensor(TARGETS, { device: model.device, dtype: "i32" }), {
    recompute,
  });
async function logitsOf(model: GPT2 | LLaMA): Promise<TypedArray> {
  using logits = noGrad(() => scoped(() => model.logits(idsOn(model.device))));
  return await logits.data();
}

/** Gives B values, as training does. */
function fill(adapter: LoRA, seed: number): void {
  for (const [name, parameter] of adapter.parameters()) {
    if (!name.endsWith("lora_B.weight")) continue;
    const values = Float32Array.from(
      { length: parameter.size },
      (_, i) => Math.sin(seed + i) * 0.1,
    );
    assignFloats(parameter, values);
  }
}

await onEachDevice(
  "applyLoRA() changes nothing at first, and trains A and B alone",
  async (device) => {
    for (const create of [newGPT2, newLLaMA]) {
      using model = create(device);
      using _scope = new Scope();
      const names = [...model.parameters().keys()];
      const before = await logitsOf(model);
      const weights = await Promise.all(model.parameters().values().map((one) => one.data()));
      using adapter = applyLoRA(model, { r: 3, loraAlpha: 6, random: new RandomState(1) });
      assertSame(await logitsOf(model), before);
      assert.deepEqual([...model.parameters().keys()], names);
      assert.ok(adapter.parameters().keys().every((name) => /\.lora_[AB]\.weight$/.test(name)));
      assert.ok(!adapter.parameters().has("lm_head.lora_A.weight"));
      using optimizer = new AdamW(adapter.parameters(), { lr: 0.02 });
      const losses: number[] = [];
      for (let step = 0; step < 12; step++) {
        using _step = new Scope();
        const loss = lossOf(model);
        loss.backward();
        assert.ok(model.parameters().values().every(({ grad }) => grad === null));
        assert.ok(adapter.parameters().values().every(({ grad }) => grad !== null));
        optimizer.step();
        optimizer.zeroGrad();
        losses.push(await loss.item());
      }
      assert.ok(
        losses.at(-1)! < losses[0] - 0.15,
        `the loss fell from ${losses[0]} to ${losses.at(-1)}`,
      );
      for (const [i, one] of [...model.parameters().values()].entries()) {
        assertSame(await one.data(), weights[i], names[i]);
      }
      assertSame(await adapter.without(() => logitsOf(model)), before);
    }
  },
);

await onEachDevice(
  "a merged adapter gives the logits that it gives beside the weights",
  async (device) => {
    for (const create of [newGPT2, newLLaMA]) {
      using model = create(device);
      const base = await logitsOf(model);
      using adapter = applyLoRA(model, { r: 2, useRslora: true, random: new RandomState(1) });
      assert.equal(adapter.scaling, 4 / Math.SQRT2);
      fill(adapter, 1);
      const beside = await logitsOf(model);
      assert.ok(beside.some((value, i) => Math.abs(value - base[i]) > 0.05));
      adapter.merge();
      assertClose(await logitsOf(model), beside, 1e-6);
      assert.throws(() => adapter.merge(), /LoRA: expected none that is merged but got one/);
      assert.throws(
        () => adapter.enabled = false,
        /LoRA: expected none that is merged but got one/,
      );
      adapter.unmerge();
      assertClose(await logitsOf(model), beside, 1e-6);
      assert.throws(() => adapter.unmerge(), /LoRA: expected one that is merged/);
      adapter.enabled = false;
      assertClose(await logitsOf(model), base, 1e-6);
    }
  },
);

await onEachDevice(
  "adapters are stacked and switched; disposed of, they leave the model as it was",
  async (device) => {
    using model = newGPT2(device);
    const live = device.memory().live;
    const base = await logitsOf(model);
    const first = applyLoRA(model, { r: 2, targetModules: ["c_attn"], random: new RandomState(1) });
    const second = applyLoRA(model, {
      ...{ r: 4, targetModules: ["h.1.mlp.c_fc", "c_attn"], random: new RandomState(2) },
    });
    assert.deepEqual(
      [...second.parameters().keys()].filter((name) => name.includes("lora_A")),
      ["h.0.attn.c_attn", "h.1.attn.c_attn", "h.1.mlp.c_fc"].map((path) => `${path}.lora_A.weight`),
    );
    fill(first, 1);
    fill(second, 2);
    const both = await logitsOf(model);
    second.enabled = false;
    const one = await logitsOf(model);
    [first.enabled, second.enabled] = [false, true];
    const other = await logitsOf(model);
    assert.ok(
      [one, other, both].every((x) => x.some((value, i) => Math.abs(value - base[i]) > 0.01)),
    );
    first.enabled = true;
    assertSame(await logitsOf(model), both);
    // Both in the weights.
    first.merge();
    second.merge();
    assertClose(await logitsOf(model), both, 1e-6);
    first.unmerge();
    assert.throws(() => second.without(() => 0));
    first.enabled = false;
    assertClose(await logitsOf(model), other, 1e-6);
    second.unmerge();
    first.dispose();
    second.dispose();
    assertClose(await logitsOf(model), base, 1e-6);
    assert.equal(device.memory().live, live);
  },
);

await onEachDevice(
  "the gradients of A and B are those of the product that is written out",
  async (device) => {
    using scope = new Scope();
    const layer = new Linear(3, 2, { device, random: new RandomState(1) });
    class Model extends Module {
      readonly layer = layer;
    }
    const model = new Model();
    const adapter = applyLoRA(model, { r: 1, loraAlpha: 3, random: new RandomState(2) });
    fill(adapter, 5);
    const x = [[1, -2, 3]];
    layer.forward(tensor(x, { device })).backward(tensor([[2, -1]], { device }));
    const [a, b] = await Promise.all(adapter.parameters().values().map((one) => one.data()));
    const low = x[0].reduce((sum, value, i) => sum + value * a[i], 0);
    const [dA, dB] = [...adapter.parameters().values()].map(({ grad }) => grad!);
    assertClose(await dB.data(), [2 * 3 * low, -1 * 3 * low], 1e-6);
    const back = 3 * (2 * b[0] - b[1]);
    assertClose(await dA.data(), x[0].map((value) => value * back), 1e-6);
    scope[Symbol.dispose]();
    model.dispose();
    adapter.dispose();
  },
);

await onEachDevice(
  "activations are dropped while the adapter has random numbers, and alike when recomputed",
  async (device) => {
    using _scope = new Scope();
    using model = newGPT2(device);
    using adapter = applyLoRA(model, { r: 2, loraDropout: 0.5, random: new RandomState(1) });
    fill(adapter, 1);
    const whole = await lossOf(model).item();
    const grads = async (recompute: boolean) => {
      const random = new RandomState(11);
      adapter.random = random;
      const targets = tensor(TARGETS, { device, dtype: "i32" });
      const loss = model.loss(idsOn(device), targets, { recompute, dropout: random });
      loss.backward();
      adapter.random = undefined;
      const found: Tensor[] = [...adapter.parameters().values()].map(({ grad }) => grad!);
      const values = await Promise.all(found.map((grad) => grad.data()));
      for (const one of adapter.parameters().values()) one.grad = null;
      return { loss: await loss.item(), values };
    };
    const [plain, again] = [await grads(false), await grads(true)];
    assert.notEqual(plain.loss, whole);
    assert.equal(again.loss, plain.loss);
    plain.values.forEach((values, i) => assertClose(again.values[i], values, 1e-5));
    assert.equal(await lossOf(model).item(), whole);
  },
);

await onEachDevice(
  "an adapter beside f16 weights is f16, or f32 where that is asked for",
  async (device) => {
    if (!device.dtypes.has("f16")) return;
    using _scope = new Scope();
    const layer = new Linear(32, 16, { device, dtype: "f16", random: new RandomState(7) });
    class Model extends Module {
      readonly layer = layer;
    }
    using model = new Model();
    const x = cast(randn([4, 32], { device, random: new RandomState(3) }), "f16");
    for (const dtype of [undefined, "f32"] as const) {
      using adapter = applyLoRA(model, { r: 2, dtype, random: new RandomState(1) });
      assert.ok(adapter.parameters().values().every((one) => one.dtype === (dtype ?? "f16")));
      fill(adapter, 1);
      const y = layer.forward(x);
      assert.equal(y.dtype, "f16");
      sum(cast(y, "f32")).backward();
      assert.ok(adapter.parameters().values().every(({ grad }) => grad !== null));
      adapter.merge();
      assertClose(await layer.forward(x).data(), await y.data(), 2e-3);
      adapter.unmerge();
    }
  },
);

await onEachDevice("applyLoRA() refuses what is no target", (device) => {
  using first = newGPT2(device);
  using second = newLLaMA(device);
  assert.throws(
    () => applyLoRA(first, { targetModules: ["q_proj"] }),
    /TypeError: applyLoRA: expected linear layers .*, as c_attn, c_proj, c_fc, but got "q_proj"/,
  );
  assert.throws(() => applyLoRA(first, { targetModules: ["ln_1"] }), /but got "ln_1"/);
  assert.throws(() => applyLoRA(second, { targetModules: ["lm_head"] }), /other than the output/);
  assert.throws(
    () => applyLoRA(first, { targetModules: [] }),
    /expected linear layers but got none/,
  );
  assert.throws(() => applyLoRA(first, { r: 0 }), /RangeError: applyLoRA: expected an integer r/);
  assert.throws(() => applyLoRA(first, { loraDropout: 1 }), /RangeError/);
  assert.ok(first.parameters().values().every((one) => one.requiresGrad));
});
