// The formula of the memory of training, held to what devices count.
import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { fittingBatch } from "../../src/train/fitting_batch.ts";
import { gpt2TrainingMemory } from "../../src/train/memory.ts";
import { onEachDevice } from "../support/devices.ts";

const HEADS = { numAttentionHeads: 4 };
const CASES = [
  {
    ...HEADS,
    numHiddenLayers: 4,
    hiddenSize: 64,
    maxPositionEmbeddings: 64,
    vocabSize: 512,
    batch: 4,
  }, // activations
  {
    ...HEADS,
    numHiddenLayers: 2,
    hiddenSize: 128,
    maxPositionEmbeddings: 64,
    vocabSize: 1024,
    batch: 1,
  }, // weights
  {
    ...HEADS,
    numHiddenLayers: 2,
    hiddenSize: 64,
    maxPositionEmbeddings: 128,
    vocabSize: 4096,
    batch: 8,
  }, // logits
];

/** The most that lives from building the model to the end of its second step. */
async function measured(device: Device, recompute: boolean, sizes: typeof CASES[number]) {
  const { batch, ...config } = sizes;
  const before = device.memory().live;
  const model = new GPT2(config, { device, random: new RandomState(1) });
  using optimizer = new AdamW(model.parameters());
  device.resetPeak();
  for (let step = 0; step < 2; step++) {
    using _scope = new Scope();
    const shape = [batch, config.maxPositionEmbeddings];
    const ids = tensor(new Int32Array(batch * config.maxPositionEmbeddings), { shape, device });
    const loss = model.loss(ids, ids, { recompute });
    loss.backward();
    const { norm, factor } = clipGradNorm(model.parameters(), 1);
    optimizer.step({ lr: 1e-3, gradScale: factor });
    await readTensors([norm, loss]);
    optimizer.zeroGrad();
  }
  model.dispose();
  return device.memory().peak - before;
}

await onEachDevice("gpt2TrainingMemory() tells the peak within 3 %", async (device) => {
  for (const sizes of CASES) {
    for (const recompute of [false, true]) {
      const { total } = gpt2TrainingMemory(sizes, {
        batch: sizes.batch,
        recompute,
        minWorkgroups: device.minWorkgroups,
      });
      const ratio = await measured(device, recompute, sizes) / total;
      assert.ok(Math.abs(ratio - 1) < 0.03, `${JSON.stringify(sizes)} ${recompute}: ${ratio}`);
    }
  }
});

Deno.test("fittingBatch() is the largest that a device has room for and that divides the step", async () => {
  const config = CASES[0];
  const bytes = (batch: number) => gpt2TrainingMemory(config, { batch }).total;
  const open = (memoryLimit: number) => WebGpuDevice.open({ memoryLimit });
  using device = await open(1.3 * bytes(8));
  assert.equal(await fittingBatch(device, config, { sequences: 64 }), 8);
  assert.equal(await fittingBatch(device, config, { sequences: 64, recompute: true }), 16);
  assert.equal(await fittingBatch(device, config, { sequences: 12 }), 4);
  assert.equal(await fittingBatch(device, config, { sequences: 64, maxBatch: 2 }), 2);
  assert.deepEqual(device.memory(), { live: 0, peak: 0, pooled: 0, buffers: 0 });
  using small = await open(1000);
  assert.equal(await fittingBatch(small, config, { sequences: 64 }), 1);
});

Deno.test("fittingBatch() leaves out memory that a GPU fills slowly, as it is the system's", async () => {
  const config = CASES[0];
  const bytes = (batch: number) => gpt2TrainingMemory(config, { batch, minWorkgroups: 264 }).total;
  let live = 0;
  let milliseconds = 0;
  const device = {
    kind: "webgpu",
    minWorkgroups: 264,
    maxBufferBytes: bytes(1),
    createBuffer: (bytes: number) => ({ bytes, last: live += bytes }),
    launch: (_: unknown, { y }: { y: { buffer: { last: number } } }) => {
      milliseconds += y.buffer.last > 1.3 * bytes(8) ? 40 : 0;
    },
    synchronize: async () => {
      if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
      milliseconds = 0;
    },
    releaseBuffer: ({ bytes }: { bytes: number }) => live -= bytes,
    releasePooled() {},
    resetPeak() {},
  } as unknown as Device;
  assert.equal(await fittingBatch(device, config, { sequences: 64 }), 8);
  assert.equal(live, 0);
});
