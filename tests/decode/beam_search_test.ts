import assert from "node:assert/strict";
import { beamSearch, type BeamSearchOptions } from "../../src/decode/beam_search.ts";
import { generate } from "../../src/decode/generate.ts";
import type { GPT2 } from "../../src/models/gpt2.ts";
import { logSoftmax } from "../../src/ops/softmax.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";
import { markovModel } from "./markov_model.ts";
import { sharpModel } from "./sharp_model.ts";

interface Found {
  ids: number[];
  sum: number;
  ended: boolean;
}

/** The rule as it is written, path by path and without a cache. */
async function byTheRule(
  model: GPT2,
  prompt: readonly number[],
  { width, length = 1, stopIds = [], alpha = 0.75, vocabSize = 40 }: BeamSearchOptions,
): Promise<{ ids: number[]; score: number; ended: boolean }[]> {
  const stops = new Set(stopIds);
  const score = ({ ids, sum }: Found) => sum / ids.length ** alpha;
  let paths: Found[] = [{ ids: [], sum: 0, ended: false }];
  for (let round = 0; round < length && paths.some((path) => !path.ended); round++) {
    const candidates: Found[] = [];
    for (const path of paths) {
      if (path.ended) {
        candidates.push(path);
        continue;
      }
      using _scope = new Scope();
      const ids = Int32Array.from([...prompt, ...path.ids]);
      const input = tensor(ids, { shape: [1, ids.length], device: model.device });
      const all = Array.from((await model.nextLogits(input).data()).slice(0, vocabSize));
      const logs = await logSoftmax(tensor(all, { device: model.device })).data();
      const best = all.map((_, id) => id).sort((a, b) => logs[b] - logs[a]).slice(0, width);
      for (const id of best) {
        candidates.push({ ids: [...path.ids, id], sum: path.sum + logs[id], ended: stops.has(id) });
      }
    }
    paths = candidates.sort((a, b) => score(b) - score(a)).slice(0, width);
  }
  return paths.map((path) => ({ ids: path.ids, score: score(path), ended: path.ended }));
}

await onEachDevice(
  "beamSearch() finds what the rule gives, for all prompts at once",
  async (device) => {
    const model = sharpModel(device);
    const slow = sharpModel((await testDevices())[0]);
    const prompts = [[1, 2, 3, 4], [5], [6, 7]];
    const before = device.memory().live;
    const settings: BeamSearchOptions[] = [
      { width: 1, length: 6 },
      { width: 3, length: 8, stopIds: [17] },
      { width: 4, length: 6, stopIds: [0, 5], alpha: 0, vocabSize: 21 },
    ];
    let ended = 0;
    for (const options of settings) {
      const found = await beamSearch(model, prompts, options);
      assert.equal(device.memory().live, before);
      for (const [p, prompt] of prompts.entries()) {
        const expected = await byTheRule(slow, prompt, options);
        assert.equal(found[p].length, options.width);
        expected.forEach((path, rank) => {
          const mine = found[p][rank];
          assert.deepEqual([...mine.ids], path.ids, `${JSON.stringify(options)}, prompt ${p}`);
          assert.ok(Math.abs(mine.score - path.score) < 1e-4);
          assert.equal(mine.ended, path.ended);
          ended += Number(path.ended && path.ids.length < (options.length ?? 0));
        });
      }
    }
    assert.ok(ended > 0, "no path of this test ended before the others");
    model.dispose();
    slow.dispose();
  },
);

await onEachDevice("beamSearch() of width 1 is greedy decoding", async (device) => {
  const model = sharpModel(device);
  const prompts = [[3], [1, 2]];
  const options = { length: 10 };
  const found = await beamSearch(model, prompts, { ...options, width: 1 });
  const greedy = await generate(model, prompts, { ...options, temperature: 0 });
  assert.deepEqual(found.map(([{ ids }]) => ids), greedy.map(({ ids }) => ids));
  model.dispose();
});

await onEachDevice("beamSearch() refuses scores that are NaN", async (device) => {
  const model = markovModel(device, [[0, 1], [NaN, NaN]]);
  await assert.rejects(
    beamSearch(model, [[0], [1]], { width: 2, length: 5 }),
    /^Error: beamSearch: expected finite scores but got NaN for path 1; the weights may be damaged/,
  );
});

await onEachDevice("beamSearch() says what is wrong before it begins", async (device) => {
  const model = sharpModel(device);
  const wrong = [
    [[[1]], { width: 0 }, "expected a width from 1 to 40 but got 0"],
    [[[1]], { width: 41 }, "expected a width from 1 to 40 but got 41"],
    [[[1]], { width: 4, vocabSize: 3 }, "expected a width from 1 to 3 but got 4"],
    [[[1]], { width: 1, vocabSize: 50 }, "expected a vocabSize from 1 to 40 but got 50"],
    [[[1]], { width: 1, alpha: NaN }, "expected a number as alpha but got NaN"],
    [[[]], { width: 1 }, "expected tokens in the prompt but got none"],
    [[[1], [41]], { width: 1 }, "expected ids from 0 to 39 but got 41 at 0 of prompt 1"],
    [
      [[1]],
      { width: 1, length: 25 },
      "expected at most 24 tokens of context but got a prompt of 1 and 25 more",
    ],
  ] as const;
  for (const [prompts, options, message] of wrong) {
    await assert.rejects(
      beamSearch(model, prompts, options),
      new RangeError(`beamSearch: ${message}`),
    );
  }
  assert.deepEqual(await beamSearch(model, [], { width: 2 }), []);
  const [[whole]] = await beamSearch(model, [[1, 2]], { width: 40 });
  assert.equal(whole.ids.length, 23);
  model.dispose();
});
