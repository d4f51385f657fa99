// A GPU that can bind little still trains: what is longer is cut, with the same losses as on the CPU.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { trainedLosses } from "../../tools/proofs/trained_losses.ts";
import { testWebGpu } from "../support/devices.ts";

if (await testWebGpu()) {
  Deno.test({
    name: "GPT2 trains where its embedding is longer than a binding may be",
    sanitizeResources: false,
    sanitizeOps: false,
    async fn() {
      const config = {
        vocabSize: 1003,
        maxPositionEmbeddings: 16,
        hiddenSize: 32,
        numHiddenLayers: 2,
        numAttentionHeads: 2,
      };
      const limits = { maxStorageBufferBindingSize: 64 * 1024 };
      assert.ok(config.vocabSize * config.hiddenSize * 4 > limits.maxStorageBufferBindingSize);
      using gpu = await WebGpuDevice.open({ limits });
      using cpu = CpuDevice.open();
      const options = { config, batchSize: 4, steps: 4 };
      const [found, expected] = [
        await trainedLosses(gpu, options),
        await trainedLosses(cpu, options),
      ];
      found.forEach((loss, i) => {
        assert.ok(
          Math.abs(loss / expected[i] - 1) < 1e-4,
          `step ${i}: ${loss}, on the CPU ${expected[i]}`,
        );
      });
      assert.ok(expected[3] < expected[0], "nothing was learned");
    },
  });
}
