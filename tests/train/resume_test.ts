// A run that is saved and restored goes on as if it had never stopped: mixed precision with its loss scale, data, dropout.
import assert from "node:assert/strict";
import { TokenLoader } from "../../src/data/loader.ts";
import type { Device } from "../../src/device/device.ts";
import { listCheckpoints, loadNewestCheckpoint } from "../../src/io/checkpoint.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { LossScaler } from "../../src/optim/loss_scaler.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { batchTensors, validationLoss } from "../../src/train/evaluate.ts";
import { restoreModel, restoreRun, saveRun } from "../../src/train/run_checkpoint.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

const config = {
  vocabSize: 29,
  maxPositionEmbeddings: 8,
  hiddenSize: 8,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
  dropout: 0.2,
};
const tokens = Uint16Array.from({ length: 150 }, (_, i) => (i * i * 5 + i) % 29);

/** All that a run consists of; a fresh one differs from every other by its seed. */
async function newRun(device: Device, seed: number, dtype: "f16" | "f32") {
  const model = new GPT2(config, { device, dtype, random: new RandomState(seed) });
  const optimizer = new AdamW(model.parameters(), { lr: 0.01 });
  // So high that it overflows at first, and growing soon.
  const scaler = new LossScaler(device, { initialScale: 2 ** 24, growthInterval: 2 });
  const shuffle = { seed: 3, separator: 0 };
  const loader = await TokenLoader.open(tokens, { batchSize: 2, contextSize: 8, shuffle });
  const random = new RandomState(seed + 1);
  return {
    ...{ model, optimizer, scaler, loader, random },
    async step(): Promise<number[]> {
      using _scope = new Scope();
      const { ids, targets } = batchTensors(await loader.next(), [2, 8], device);
      const loss = model.loss(ids, targets, { dropout: random });
      loss.backward(scaler.scale);
      const { norm, factor } = clipGradNorm(model.parameters(), 1, { scaler });
      optimizer.step({ gradScale: factor });
      scaler.update(factor);
      const values = await readTensors([loss, norm, factor, ...scaler.state().values()]);
      optimizer.zeroGrad();
      return values.flatMap((some) => Array.from(some));
    },
    dispose() {
      model.dispose();
      optimizer[Symbol.dispose]();
      scaler[Symbol.dispose]();
    },
  };
}

for (const device of await testDevices()) {
  const dtypes = (["f32", "f16"] as const).filter((dtype) => device.dtypes.has(dtype));
  for (const dtype of dtypes) {
    Deno.test({
      name: `restoreRun() goes on with what saveRun() kept, in ${dtype} [${device.kind}]`,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: () => comparesResumed(device, dtype),
    });
  }
}

async function comparesResumed(device: Device, dtype: "f16" | "f32"): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  const straight = await newRun(device, 1, dtype);
  const resumed = await newRun(device, 50, dtype);
  try {
    const before: number[][] = [];
    for (let i = 0; i < 9; i++) before.push(await straight.step());
    const path = await saveRun(folder, 9, straight, { extra: { note: ["a", 1] } });
    const scales = before.map((values) => values[3]);
    if (dtype === "f16") assert.ok(new Set(scales).size > 1, `the scale stays ${scales}`);
    const after: number[][] = [];
    for (let i = 0; i < 5; i++) after.push(await straight.step());

    const checkpoint = await loadNewestCheckpoint(folder);
    assert.equal(checkpoint!.path, path);
    const { step, extra } = restoreRun(checkpoint!, resumed);
    assert.deepEqual([step, extra], [9, { note: ["a", 1] }]);
    for (let i = 0; i < 5; i++) {
      const values = await resumed.step();
      values.forEach((value, at) => {
        const wanted = after[i][at];
        const isClose = Math.abs(value - wanted) <= 1e-5 * Math.abs(wanted);
        assert.ok(isClose || Object.is(value, wanted), `step ${10 + i}, value ${at}: ${value}`);
      });
    }
    assert.deepEqual(resumed.loader.state(), straight.loader.state());
    assert.deepEqual(resumed.random.state(), straight.random.state());
    const [mine, theirs] = [resumed, straight].map((run) => [...run.optimizer.state().values()]);
    const [a, b] = [await readTensors(mine), await readTensors(theirs)];
    a.forEach((values, i) =>
      values.forEach((value, at) => assert.ok(Math.abs(value - b[i][at]) < 1e-5))
    );
  } finally {
    straight.dispose();
    resumed.dispose();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name:
    "saveRun() keeps as many checkpoints as it is told, and restoreModel() takes the model alone",
  sanitizeResources: false,
  sanitizeOps: false,
  async fn() {
    const [device] = await testDevices();
    const folder = await Deno.makeTempDir({ prefix: "dinograd" });
    const run = await newRun(device, 1, "f32");
    const other = await newRun(device, 2, "f32");
    try {
      const steps = async () => (await listCheckpoints(folder)).map(({ step }) => step);
      for (const step of [1, 2, 3, 4]) await saveRun(folder, step, run);
      assert.deepEqual(await steps(), [2, 3, 4]);
      await saveRun(folder, 5, run, { keep: 1 });
      assert.deepEqual(await steps(), [5]);
      for (const step of [6, 7, 8, 9, 10]) await saveRun(folder, step, run, { keep: 4 });
      assert.deepEqual(await steps(), [7, 8, 9, 10]);

      const checkpoint = (await loadNewestCheckpoint(folder))!;
      assert.equal(restoreRun(checkpoint, run).extra, null);
      restoreModel(checkpoint, other.model);
      const values = (model: GPT2) => readTensors([...model.parameters().values()]);
      assert.deepEqual(await values(other.model), await values(run.model));
    } finally {
      run.dispose();
      other.dispose();
      await Deno.remove(folder, { recursive: true });
    }
  },
});

await onEachDevice(
  "validationLoss() is the mean from the beginning on, and goes back",
  async (device) => {
    const run = await newRun(device, 1, "f32");
    const expected = await TokenLoader.open(tokens, { batchSize: 2, contextSize: 8 });
    const losses: number[] = [];
    for (let i = 0; i < 4; i++) {
      using _scope = new Scope();
      const { ids, targets } = batchTensors(await expected.next(), [2, 8], device);
      losses.push(await run.model.loss(ids, targets).item());
    }
    const loader = await TokenLoader.open(tokens, { batchSize: 2, contextSize: 8 });
    await loader.next();
    await loader.next();
    const state = loader.state();
    for (const batches of [1, 4]) {
      const mean = losses.slice(0, batches).reduce((a, b) => a + b, 0) / batches;
      const loss = await validationLoss(run.model, loader, 2 * batches, device);
      assert.ok(Math.abs(loss - mean) < 1e-5, `${batches} batches: ${loss}, not ${mean}`);
      assert.deepEqual(loader.state(), state);
    }
    // A last batch of one row.
    const large = await TokenLoader.open(tokens, { batchSize: 3, contextSize: 8 });
    const ofFour = (losses[0]! + losses[1]!) / 2;
    assert.ok(Math.abs(await validationLoss(run.model, large, 4, device) - ofFour) < 1e-5);
    run.dispose();
  },
);
