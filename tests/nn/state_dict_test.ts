import assert from "node:assert/strict";
import { FileFormatError } from "../../src/io/errors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

const config = {
  vocabSize: 20,
  maxPositionEmbeddings: 8,
  hiddenSize: 16,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
};

await onEachDevice("Module.saveWeights() and loadWeights() keep every bit", async (device) => {
  const path = await Deno.makeTempFile();
  const model = new GPT2(config, { device, random: new RandomState(1) });
  const copy = new GPT2(config, { device, random: new RandomState(2) });
  await model.saveWeights(path);
  await copy.loadWeights(path);
  const values = (of: GPT2) => readTensors([...of.parameters().values()]);
  assertSame(await values(copy), await values(model));

  const other = new GPT2({ ...config, numHiddenLayers: 2, vocabSize: 21 }, { device });
  const before = await values(other);
  await assert.rejects(other.loadWeights(path), (error: Error) => {
    assert.match(error.message, /"wte.weight" of shape \[21, 16\] but got \[20, 16\]/);
    assert.match(error.message, /"h.1.ln_1.weight" of shape \[16\] but got none; .*and \d+ more/);
    return true;
  });
  assertSame(await values(other), before);
  await Deno.truncate(path, 3000);
  await assert.rejects(copy.loadWeights(path), FileFormatError);
  await Deno.remove(path);
  [model, copy, other].forEach((one) => one.dispose());
});

await onEachDevice(
  "GPT2 halves the precision of its parameters where it is asked to",
  async (device) => {
    if (!device.dtypes.has("f16")) return;
    const path = await Deno.makeTempFile();
    const model = new GPT2(config, { device, dtype: "f16" });
    const wide = new GPT2(config, { device });
    await model.saveWeights(path);
    await wide.loadWeights(path);
    const [half, full] = await readTensors([
      model.parameters().get("wpe.weight")!,
      wide.parameters().get("wpe.weight")!,
    ]);
    assert.ok(half instanceof Float16Array);
    assert.deepEqual(Array.from(full), Array.from(half));
    await Deno.remove(path);
    [model, wide].forEach((one) => one.dispose());
  },
);
