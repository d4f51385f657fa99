import assert from "node:assert/strict";
import { type Device, GPT2, GPT3, LLaMA, RandomState, Scope, tensor } from "../../mod.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

const [cpu] = await testDevices();
const sizes = {
  ...{ vocabSize: 31, maxPositionEmbeddings: 16, hiddenSize: 16 },
  ...{ numHiddenLayers: 2, numAttentionHeads: 2 },
};
const kinds = { GPT2, GPT3, LLaMA };

/** The loss of the model, with the random numbers of a seed where one is given. */
async function loss(
  device: Device,
  kind: keyof typeof kinds,
  attentionDropout: number | undefined,
  seed?: number,
): Promise<number> {
  using _scope = new Scope();
  const config = { ...sizes, attentionDropout };
  const model = new kinds[kind](config, { device, random: new RandomState(3) });
  const values = Int32Array.from({ length: 32 }, (_, i) => (i * i + 3 * i) % 31);
  const ids = tensor(values, { shape: [2, 16], device });
  const found = model.loss(ids, ids, { dropout: seed ? new RandomState(seed) : undefined });
  const value = await found.item();
  model.dispose();
  return value;
}

for (const kind of ["GPT2", "GPT3", "LLaMA"] as const) {
  await onEachDevice(`attentionDropout of ${kind}: in training alone`, async (device) => {
    const plain = await loss(device, kind, undefined);
    assert.equal(await loss(device, kind, undefined, 5), plain);
    assert.equal(await loss(device, kind, 0.5), plain);
    const dropped = await loss(device, kind, 0.5, 5);
    assert.equal(await loss(device, kind, 0.5, 5), dropped);
    assert.ok(Math.abs(dropped - plain) > 1e-5, `${dropped} and ${plain}`);
    assert.ok(Math.abs(await loss(device, kind, 0.5, 6) - dropped) > 1e-5);
    // The same weights on every device.
    assert.ok(Math.abs(await loss(cpu, kind, 0.5, 5) - dropped) < 1e-5);
  });
}
