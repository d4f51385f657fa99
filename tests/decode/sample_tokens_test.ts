import assert from "node:assert/strict";
import { sampleTokens } from "../../src/decode/sample_tokens.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { onEachDevice } from "../support/devices.ts";

const config = { vocabSize: 40, contextSize: 8, embedSize: 16, layers: 1, heads: 2 };

await onEachDevice(
  "sampleTokens() goes on past the context, and repeats with its seed",
  async (device) => {
    const model = new GPT2(config, { device });
    const before = device.memory().live;
    const options = { length: 12, samples: 3, device };
    const draw = (seed: number) =>
      sampleTokens(model, [1, 2, 3], { ...options, random: new RandomState(seed) });
    const first = await draw(1);
    assert.deepEqual(first.map((row) => row.length), [12, 12, 12]);
    assert.ok(first.flatMap((row) => [...row]).every((id) => id < 40));
    assert.deepEqual(await draw(1), first);
    assert.notDeepEqual(await draw(2), first);
    assert.notDeepEqual(first[0], first[1]);
    assert.equal(device.memory().live, before);
    await assert.rejects(sampleTokens(model, [], options), /the prompt is empty/);
    model.dispose();
  },
);

await onEachDevice("sampleTokens() at temperature 0 takes the highest score", async (device) => {
  const model = new GPT2(config, { device });
  const prompt = [5, 6];
  const options = { length: 3, temperature: 0, device };
  const [greedy] = await sampleTokens(model, prompt, options);
  const [again] = await sampleTokens(model, [...prompt, greedy[0]], { ...options, length: 2 });
  assert.deepEqual([...again], [...greedy.slice(1)]);
  model.dispose();
});

await onEachDevice(
  "sampleTokens() never draws ids that only pad the vocabulary",
  async (device) => {
    const model = new GPT2(config, { device });
    const options = { length: 30, vocabSize: 3, device, random: new RandomState(0) };
    const [ids] = await sampleTokens(model, [1], options);
    assert.deepEqual([...new Set(ids)].sort(), [0, 1, 2]);
    model.dispose();
  },
);
