// Whole training steps: nothing is left behind, a batch is learned by heart, bad gradients are refused.
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { TokenLoader } from "../../src/data/loader.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { checkGradNorm } from "../../src/optim/check_grad_norm.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { assign } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { batchTensors, validationLoss } from "../../src/train/evaluate.ts";
import { onEachDevice } from "../support/devices.ts";

const config = {
  vocabSize: 61,
  maxPositionEmbeddings: 16,
  hiddenSize: 32,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
};
const tokens = Uint16Array.from({ length: 400 }, (_, i) => (i * i * 7 + i) % 61);

async function newRun(device: Device, dropout = 0) {
  const model = new GPT2({ ...config, dropout }, { device, random: new RandomState(1) });
  const optimizer = new AdamW(model.parameters(), { lr: 3e-3 });
  const loader = await TokenLoader.open(tokens, { batchSize: 4, contextSize: 16, vocabSize: 61 });
  const random = new RandomState(2);
  async function step(): Promise<{ loss: number; norm: number }> {
    using _scope = new Scope();
    const { ids, targets } = batchTensors(await loader.next(), [4, 16], device);
    const loss = model.loss(ids, targets, { dropout: random });
    loss.backward();
    const { norm, factor } = clipGradNorm(model.parameters(), 1);
    optimizer.step({ gradScale: factor });
    const [[lossValue], [normValue]] = await readTensors([loss, norm]);
    await checkGradNorm(normValue, model.parameters());
    optimizer.zeroGrad();
    return { loss: lossValue, norm: normValue };
  }
  return {
    model,
    loader,
    step,
    dispose() {
      model.dispose();
      optimizer[Symbol.dispose]();
    },
  };
}

await onEachDevice("50 training steps leave no buffer behind", async (device) => {
  const outside = device.memory();
  const run = await newRun(device, 0.1);
  await run.step();
  const after = device.memory();
  for (let i = 0; i < 50; i++) {
    await run.step();
    const { live, buffers } = device.memory();
    assert.deepEqual({ live, buffers }, { live: after.live, buffers: after.buffers }, `step ${i}`);
  }
  run.dispose();
  assert.equal(device.memory().live, outside.live);
});

await onEachDevice("training learns, and validation does not move the loader", async (device) => {
  const run = await newRun(device);
  const validation = await TokenLoader.open(tokens, { batchSize: 4, contextSize: 16 });
  const first = await validationLoss(run.model, validation, 12, device);
  assert.ok(Math.abs(first - Math.log(61)) < 0.2, `the first loss is ${first}`);
  for (let i = 0; i < 60; i++) await run.step();
  const { position } = validation.state();
  const last = await validationLoss(run.model, validation, 12, device);
  assert.ok(last < first - 0.5, `${first} became ${last}`);
  assert.equal(validation.state().position, position);
  run.dispose();
});

await onEachDevice("a NaN gradient is named and the step changes nothing", async (device) => {
  const run = await newRun(device);
  await run.step();
  const bias = run.model.parameters().get("h.1.mlp.c_proj.bias")!;
  const values = (await bias.data()).map((value, i) => i === 5 ? NaN : value) as Float32Array;
  assign(bias, values);
  const before = await readTensors([...run.model.parameters().values()]);
  await assert.rejects(run.step(), /NonFiniteGradientError|gradient/);
  const after = await readTensors([...run.model.parameters().values()]);
  assert.deepEqual(after, before);
  run.dispose();
});

await onEachDevice("GPT2 refuses long sequences and heads that do not divide", (device) => {
  assert.throws(
    () => new GPT2({ ...config, numAttentionHeads: 5 }, { device }),
    /but got 5 and 32/,
  );
  const model = new GPT2(config, { device });
  using _scope = new Scope();
  const { ids } = batchTensors(
    { inputs: new Int32Array(17), targets: new Int32Array(17) },
    [1, 17],
    device,
  );
  assert.throws(() => model.logits(ids), /at most 16 tokens but got ids of shape \[1, 17\]/);
  model.dispose();
});
