// A device that goes away in the middle of a step: the error says so, and the last checkpoint goes on elsewhere.
import assert from "node:assert/strict";
import { DeviceLostError } from "../../src/device/errors.ts";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { loadNewestCheckpoint } from "../../src/io/checkpoint.ts";
import { TokenLoader } from "../../src/data/loader.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { batchTensors } from "../../src/train/evaluate.ts";
import { restoreRun, saveRun } from "../../src/train/run_checkpoint.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";
import { inFolder } from "../support/examples.ts";
import { testGpu } from "../support/gpu.ts";

const config = {
  vocabSize: 29,
  maxPositionEmbeddings: 8,
  hiddenSize: 8,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
  dropout: 0.2,
};
const tokens = Uint16Array.from({ length: 150 }, (_, i) => (i * i * 5 + i) % 29);

async function newRun(device: Device, seed: number) {
  const model = new GPT2(config, { device, random: new RandomState(seed) });
  const optimizer = new AdamW(model.parameters(), { lr: 0.01 });
  const loader = await TokenLoader.open(tokens, { batchSize: 2, contextSize: 8 });
  const random = new RandomState(seed + 1);
  return {
    ...{ model, optimizer, loader, random },
    async step(onBackward = () => {}): Promise<number> {
      using _scope = new Scope();
      const { ids, targets } = batchTensors(await loader.next(), [2, 8], device);
      const loss = model.loss(ids, targets, { dropout: random });
      loss.backward();
      onBackward();
      optimizer.step();
      optimizer.zeroGrad();
      return await loss.item();
    },
    dispose() {
      optimizer[Symbol.dispose]();
      model.dispose();
    },
  };
}

/** A device, and a function that takes it away as a driver does. */
async function openLosable(): Promise<{ device: WebGpuDevice; lose: () => void }> {
  let gpu: GPUDevice | undefined;
  const device = await WebGpuDevice.open({
    gpu: {
      requestAdapter: async (options?: GPURequestAdapterOptions) => {
        const adapter = (await testGpu.requestAdapter(options))!;
        const requestDevice = adapter.requestDevice.bind(adapter);
        adapter.requestDevice = async (descriptor) => gpu = await requestDevice(descriptor);
        return adapter;
      },
    } as GPU,
  });
  return { device, lose: () => gpu!.destroy() };
}

if (await testWebGpu()) {
  await onEachDevice("a run goes on from its checkpoint where its GPU was lost", async (other) => {
    await inFolder(async (folder) => {
      const { device, lose } = await openLosable();
      const run = await newRun(device, 1);
      const losses = [await run.step(), await run.step()];
      await saveRun(folder, 2, run);
      await assert.rejects(run.step(lose), (error) =>
        error instanceof DeviceLostError &&
        /^The device .* was lost \(destroyed.*open a new one and go on from the last checkpoint$/
          .test(error.message));
      await assert.rejects(run.step(), DeviceLostError);
      await assert.rejects(device.lost, DeviceLostError);
      run.dispose(); // what is lost can be disposed of

      const again = await newRun(other, 100);
      restoreRun((await loadNewestCheckpoint(folder))!, again);
      const undisturbed = await newRun(other, 1);
      for (const loss of losses) {
        assert.ok(Math.abs(await undisturbed.step() - loss) < 1e-4);
      }
      for (let step = 0; step < 2; step++) {
        const [found, expected] = [await again.step(), await undisturbed.step()];
        assert.ok(Math.abs(found - expected) < 1e-4, `${found}, expected ${expected}`);
      }
      again.dispose();
      undisturbed.dispose();
    });
  });
}
