// The weakest adapter that WebGPU allows: everything works on it but f16 and timings, which say why they do not.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { DeviceError } from "../../src/device/errors.ts";
import { openDevice } from "../../src/device/open.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { sample } from "../../src/ops/sampling.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { testWebGpu } from "../support/devices.ts";
import { weakProfileGpu } from "../support/hardware_profile.ts";
import { trainedLosses } from "../../tools/proofs/trained_losses.ts";

const available = await testWebGpu() !== undefined;

function weakTest(name: string, body: (device: WebGpuDevice) => void | Promise<void>): void {
  Deno.test({
    name,
    ignore: !available,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      using device = await WebGpuDevice.open({ gpu: weakProfileGpu() });
      await body(device);
    },
  });
}

weakTest("a weak adapter is opened for what it is, not taken for OpenGL", async (device) => {
  assert.deepEqual([...device.dtypes], ["f32", "i32", "u32"]);
  assert.equal(device.subgroups, false);
  assert.equal(device.maxBindingBytes, 128 * 2 ** 20);
  assert.equal(device.maxBufferBytes, 256 * 2 ** 20);
  let said = "";
  using opened = await openDevice({ gpu: weakProfileGpu(), log: (line) => said = line });
  assert.equal(opened.kind, "webgpu");
  assert.match(said, /weak profile over WebGPU \(WebGPU finds a GPU\)/);
});

weakTest("what a weak adapter lacks is an error that names it", (device) => {
  assert.throws(
    () => device.profile(true),
    (error) =>
      error instanceof DeviceError &&
      /expected a device with "timestamp-query"/.test(error.message),
  );
  assert.throws(() => tensor([1, 2], { device, dtype: "f16" }), /f16/);
  assert.throws(
    () => device.createBuffer(256 * 2 ** 20 + 4, () => "a tensor [67108865] of f32"),
    /a tensor \[67108865\] of f32.*one buffer may have 256.0 MiB on this device/,
  );
});

weakTest("GPT-2 trains on a weak adapter as on the CPU", async (device) => {
  const config = {
    ...{ vocabSize: 203, maxPositionEmbeddings: 24, hiddenSize: 48 },
    ...{ numHiddenLayers: 2, numAttentionHeads: 3 },
  };
  using cpu = CpuDevice.open();
  const options = { config, batchSize: 3, steps: 4 };
  const [found, expected] = [
    await trainedLosses(device, options),
    await trainedLosses(cpu, options),
  ];
  found.forEach((loss, i) =>
    assert.ok(Math.abs(loss / expected[i] - 1) < 1e-4, `step ${i}: ${loss}`)
  );
  assert.ok(expected[3] < expected[0], "nothing was learned");
});

weakTest("a weak adapter samples the ids of the CPU", async (device) => {
  using cpu = CpuDevice.open();
  const values = Float32Array.from({ length: 4 * 1000 }, (_, i) => 3 * Math.sin(i * i));
  const ids = await Promise.all([device, cpu].map(async (device) => {
    using _scope = new Scope();
    const logits = tensor(values, { shape: [4, 1000], device });
    const random = new RandomState(5);
    return [...await sample(logits, { topK: 40, topP: 0.9, random }).data()];
  }));
  assert.deepEqual(ids[0], ids[1]);
});
