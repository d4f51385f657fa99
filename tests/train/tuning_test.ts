// Fine-tuning by tasks: what is trained, how micro-batches of unequal answers count, and pairs.
import assert from "node:assert/strict";
import { type Options, parseOptions } from "../../src/cli/finetune/options.ts";
import { tuning, type TuningTask } from "../../src/cli/finetune/task.ts";
import { Training } from "../../src/cli/train/training.ts";
import {
  checkpointExtra,
  CpuDevice,
  type Device,
  GPT2,
  loadNewestCheckpoint,
  RandomState,
  SingleProcess,
  type TuningExample,
} from "../../mod.ts";
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { inFolder } from "../support/examples.ts";

const SIZES = {
  vocabSize: 16,
  maxPositionEmbeddings: 12,
  hiddenSize: 16,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
};
const newModel = (device: Device) => new GPT2(SIZES, { device, random: new RandomState(5) });

/** Counts on from `first`, of which the last `learned` tokens are the answer. */
function counting(first: number, length: number, learned: number, by = 1): TuningExample {
  return {
    ids: Int32Array.from({ length }, (_, i) => (first + by * i + 16) % 16),
    learned: Uint8Array.from({ length }, (_, i) => Number(i >= length - learned)),
  };
}

const answers = Array.from({ length: 8 }, (_, i) => [counting(i, 4 + i, 1 + i % 4)]);
/** Counting upwards is better than counting downwards. */
const pairs = Array.from({ length: 8 }, (_, i) => [counting(i, 8, 4), counting(i, 8, 4, -1)]);

async function open(
  device: Device,
  args: string[],
  batch: number,
  rows = answers,
  reference?: GPT2,
): Promise<{ training: Training; task: TuningTask }> {
  const options: Options = parseOptions(["model", "data", "--lr", "0.01", ...args]);
  let task: TuningTask;
  const training = await Training.open({
    ...{ options, device, dtype: "f32", batch, mayHalve: true },
    communicator: new SingleProcess(),
    task: (random) =>
      task = tuning({
        ...{ options, model: newModel(device), reference, rows, contextSize: 12, packed: false },
      }, random),
  });
  return { training, task: task! };
}

async function steps(training: Training, count: number, sequences = 4): Promise<number[]> {
  const outcomes = [];
  for (let i = 0; i < count; i++) {
    outcomes.push(...await training.next({ lr: 0.01, sequences }, async () => {}, () => {}));
  }
  outcomes.push(...await training.settle());
  return outcomes.map(({ loss }) => loss);
}

await onEachDevice("micro-batches count by the tokens that are learned in them", async (device) => {
  const found = [];
  for (const batch of [4, 1]) {
    const { training } = await open(device, ["--lora", "2"], batch);
    const losses = await steps(training, 2);
    const values = await Promise.all(training.model.parameters().values().map((one) => one.data()));
    found.push({ losses, values });
    await training[Symbol.asyncDispose]();
  }
  const [whole, parts] = found;
  assertClose(parts.losses, whole.losses, 1e-5);
  parts.values.forEach((values, i) => assertClose(values, whole.values[i], 1e-3));
});

await onEachDevice(
  "an adapter and all weights learn the answers, whatever is recomputed",
  async (device) => {
    for (const args of [["--lora", "4", "--lora-dropout", "0.1"], ["--recompute"]]) {
      const { training, task } = await open(device, args, 4);
      const losses = await steps(training, 12);
      assert.ok(losses.at(-1)! < losses[0] - 0.1, `${args}: ${losses[0]} to ${losses.at(-1)}`);
      assert.equal(task.adapter === undefined, args[0] === "--recompute");
      assert.equal(task.adapter?.random, undefined);
      await training[Symbol.asyncDispose]();
    }
  },
);

await onEachDevice("DPO makes the better answers likelier than the others", async (device) => {
  for (const lora of [true, false]) {
    const args = ["--dpo", "--beta", "0.5", ...lora ? ["--lora", "4"] : []];
    const reference = lora ? undefined : newModel(device).freeze();
    const { training } = await open(device, args, 2, pairs, reference);
    const losses = await steps(training, 8, 4);
    assert.ok(Math.abs(losses[0] - Math.log(2)) < 1e-4, `the first loss is ${losses[0]}`);
    assert.ok(losses.at(-1)! < 0.5, `${losses}`);
    await training[Symbol.asyncDispose]();
  }
});

Deno.test("a resumed run has the options of its checkpoint", () =>
  inFolder(async (folder) => {
    using device = CpuDevice.open({ threads: 1 });
    const { training } = await open(device, ["--batch", "2", "--warmup", "0.5"], 2);
    await steps(training, 1, 2);
    await training.save(folder, { train: [], validation: [] });
    await training[Symbol.asyncDispose]();
    const { options } = checkpointExtra((await loadNewestCheckpoint(folder))!, ["options"]);
    const resumed = parseOptions(["--resume", folder], options as Partial<Options>);
    assert.deepEqual([resumed.batch, resumed.warmup], [2, 0.5]);
  }));
