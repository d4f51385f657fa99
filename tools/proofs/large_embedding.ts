/**
 * Proof: GPT-2's full embedding (50,304 x 768 in f32, 147 MiB) trains on an adapter that binds 128 MiB at
 * most, with the losses of the CPU device. `deno task proof:embedding`; a minute or two on two cores.
 */
import { CpuDevice, formatBytes, WebGpuDevice } from "../../mod.ts";
import { trainedLosses } from "./trained_losses.ts";

const MOST = 128 * 2 ** 20;
const config = {
  vocabSize: 50304,
  maxPositionEmbeddings: 64,
  hiddenSize: 768,
  numHiddenLayers: 1,
  numAttentionHeads: 12,
};
const options = { config, batchSize: 1, steps: 3 };
using gpu = await WebGpuDevice.open({ limits: { maxStorageBufferBindingSize: MOST } });
using cpu = CpuDevice.open();
console.log(`${gpu.description}: bindings of ${formatBytes(gpu.maxBindingBytes)} at most`);
console.log(`the embedding has ${formatBytes(config.vocabSize * config.hiddenSize * 4)}`);
const found = await trainedLosses(gpu, options);
const expected = await trainedLosses(cpu, options);
let worst = 0;
found.forEach((loss, i) => {
  worst = Math.max(worst, Math.abs(loss / expected[i] - 1));
  console.log(
    `step ${i + 1}: loss ${loss.toFixed(6)} on the GPU, ${expected[i].toFixed(6)} on the CPU`,
  );
});
console.log(`peak memory: ${formatBytes(gpu.memory().peak)} on the GPU`);
console.log(
  `largest relative difference ${worst.toExponential(1)}: ${worst < 1e-4 ? "ok" : "TOO LARGE"}`,
);
if (!(worst < 1e-4 && found[2] < found[0])) Deno.exit(1);
