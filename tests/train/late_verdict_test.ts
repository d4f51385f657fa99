// A step that is checked on the device and reported later: what is refused has changed nothing, whenever that is noticed.
import assert from "node:assert/strict";
import { SingleProcess } from "../../src/distributed/communicator.ts";
import { parseOptions } from "../../src/cli/train/options.ts";
import { pretraining } from "../../src/cli/train/task.ts";
import { Training } from "../../src/cli/train/training.ts";
import type { Device } from "../../src/device/device.ts";
import { assign, loadCheckpoint, readTensors, type Tensor } from "../../mod.ts";
import { onEachDevice } from "../support/devices.ts";
import { inFolder } from "../support/examples.ts";

const tokens = Uint16Array.from({ length: 4000 }, (_, i) => (i * i * 7 + i) % 61);

function open(device: Device, args: string[]): Promise<Training> {
  const given = parseOptions([
    ...["--layers", "1", "--embed", "16", "--heads", "2", "--context", "16", "--batch", "2"],
    ...["--total-batch", "64", "--dropout", "0.1", ...args],
  ]);
  const options = { ...given, vocab: 61 };
  return Training.open({
    ...{ options, device, dtype: "f32", batch: 2, mayHalve: false },
    communicator: new SingleProcess(),
    task: (random) =>
      pretraining({
        options,
        device,
        dtype: "f32",
        corpus: { train: tokens, separator: undefined },
      }, random),
  });
}

const next = (training: Training) =>
  training.next({ lr: 1e-3, sequences: 4 }, async () => {}, () => {});

/** All that a checkpoint would hold. */
async function everything(training: Training): Promise<unknown> {
  const tensors: Tensor[] = [
    ...training.model.parameters().values(),
    ...training.optimizer.state().values(),
  ];
  return {
    values: await readTensors(tensors),
    step: training.step,
    loader: training.loader.state(),
    random: training.random.state(),
    guard: training.guard.state(),
  };
}

/** Takes steps until the run ends; returns what ended it. */
async function failing(training: Training, most: number): Promise<Error> {
  for (let i = 0; i < most; i++) {
    try {
      await next(training);
    } catch (error) {
      return error as Error;
    }
  }
  throw new Error("nothing ended the run");
}

await onEachDevice("a step to stop at ends the run at the weights before it", async (device) => {
  await using training = await open(device, []);
  for (let i = 0; i < 3; i++) await next(training);
  while ((await training.settle()).length > 0);
  assert.equal(training.step, 3);
  // From here on the loss is NaN, and with it every gradient.
  const weight = training.model.parameters().get("ln_f.weight")!;
  const spoilt = new Float32Array(weight.size).fill(1);
  spoilt[3] = NaN;
  assign(weight, spoilt);
  const before = await everything(training);
  const error = await failing(training, 40);
  assert.equal(error.name, "StepRefusedError");
  assert.match(error.message, /^step 4: .*got NaN.*not finite is the gradient of "wte.weight"/);
  assert.deepEqual(await everything(training), before);
  await inFolder(async (folder) => {
    const path = await training.save(folder, { train: [], validation: [] });
    assert.equal((await loadCheckpoint(path)).step, 3);
  });
});

await onEachDevice("steps left out change nothing but where the data stands", async (device) => {
  await using training = await open(device, ["--on-nan", "skip"]);
  for (let i = 0; i < 3; i++) await next(training);
  while ((await training.settle()).length > 0);
  const weight = training.model.parameters().get("ln_f.weight")!;
  const sound = (await weight.data()).slice();
  assign(weight, new Float32Array(weight.size).fill(NaN));
  const outcomes = [];
  for (let i = 0; i < 4; i++) outcomes.push(...await next(training));
  outcomes.push(...await training.settle());
  assert.deepEqual(outcomes.map(({ step, verdict }) => [step, verdict.action]), [
    [4, "skip"],
    [5, "skip"],
    [6, "skip"],
    [7, "skip"],
  ]);
  assert.equal(training.guard.state().skipped, 4);
  assert.equal(await training.optimizer.state().get("step")!.item(), 3);
  assign(weight, sound);
  const after = [...await next(training), ...await training.settle()];
  assert.deepEqual(after.map(({ step, verdict }) => [step, verdict.action]), [[8, "apply"]]);
  assert.equal(await training.optimizer.state().get("step")!.item(), 4);
  assign(weight, new Float32Array(weight.size).fill(NaN));
  const error = await failing(training, 40);
  assert.match(error.message, /^step 18: /, "ten in a row");
  assert.equal(training.step, 17);
});

await onEachDevice("how often numbers are read changes no step", async (device) => {
  const runs = await Promise.all([open(device, []), open(device, [])]);
  for (const [i, training] of runs.entries()) {
    for (let step = 0; step < 6; step++) {
      await next(training);
      if (i === 1) await training.settle();
    }
    await training.settle();
  }
  const [rarely, often] = [await everything(runs[0]), await everything(runs[1])];
  assert.deepEqual(rarely, often);
  for (const training of runs) await training[Symbol.asyncDispose]();
});
