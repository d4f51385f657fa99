import assert from "node:assert/strict";
import { generate, type GenerateOptions, generateTokens } from "../../src/decode/generate.ts";
import { argmax } from "../../src/ops/reduce.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";
import { sharpModel } from "./sharp_model.ts";

const PROMPTS = [[1, 2, 3, 4, 5], [6], [7, 8, 9]];

/** Greedy decoding of one prompt on the CPU, without a cache. */
async function slowly(prompt: readonly number[], length: number): Promise<number[]> {
  const [device] = await testDevices();
  const model = sharpModel(device);
  const ids = [...prompt];
  for (let i = 0; i < length; i++) {
    using _scope = new Scope();
    const row = tensor(Int32Array.from(ids), { shape: [1, ids.length], device });
    ids.push(await argmax(model.nextLogits(row)).item());
  }
  model.dispose();
  return ids.slice(prompt.length);
}

await onEachDevice("generate() continues prompts of unequal length greedily", async (device) => {
  const model = sharpModel(device);
  const found = await generate(model, PROMPTS, { length: 12, temperature: 0 });
  for (const [p, prompt] of PROMPTS.entries()) {
    assert.deepEqual([...found[p].ids], await slowly(prompt, 12));
    assert.equal(found[p].ended, "length");
  }
  model.dispose();
});

await onEachDevice("generate() ends each sequence by itself with a stop id", async (device) => {
  const model = sharpModel(device);
  const free = await generate(model, PROMPTS, { length: 12, temperature: 0 });
  const stop = free[1].ids[3];
  const found = await generate(model, PROMPTS, { length: 12, temperature: 0, stopIds: [stop] });
  found.forEach(({ ids, ended }, row) => {
    const at = free[row].ids.indexOf(stop);
    assert.equal(ended, at < 0 ? "length" : "stop");
    assert.deepEqual(ids, at < 0 ? free[row].ids : free[row].ids.slice(0, at + 1));
  });
  model.dispose();
});

await onEachDevice(
  "generate() tells of every token, and ends a row that is told to",
  async (device) => {
    const model = sharpModel(device);
    const options = { length: 12, temperature: 0, samples: 2 } as const;
    const free = await generate(model, PROMPTS, options);
    const stop = free[2].ids[3];
    const calls: [number, number][] = [];
    const found = await generate(model, PROMPTS, {
      ...options,
      stopIds: [stop],
      onToken(row, id) {
        calls.push([row, id]);
        if (row === 0) return calls.filter(([r]) => r === 0).length < 5;
      },
    });
    assert.deepEqual(found[0], { ids: free[0].ids.slice(0, 5), ended: "stop" });
    assert.equal(found[1].ids.at(-1) === stop || found[1].ids.length === 12, true);
    assert.equal(found[2].ids.at(-1), stop);
    // Step by step, and in each step row by row.
    const wanted: [number, number][] = [];
    for (let step = 0; step < 12; step++) {
      found.forEach(({ ids }, row) => step < ids.length && wanted.push([row, ids[step]]));
    }
    assert.deepEqual(calls, wanted);
    const before = device.memory().live;
    const onToken = () => {
      throw new Error("enough");
    };
    await assert.rejects(generate(model, PROMPTS, { ...options, onToken }), /^Error: enough$/);
    assert.equal(device.memory().live, before);
    model.dispose();
  },
);

await onEachDevice("generate() repeats with its seed and leaves no byte behind", async (device) => {
  const model = sharpModel(device);
  const options: GenerateOptions = {
    ...{ length: 50, overflow: "slide", samples: 3 },
    ...{ topK: 20, topP: 0.95, repetitionPenalty: 1.2 },
  };
  const draw = (seed: number, more: GenerateOptions = {}) =>
    generate(model, PROMPTS, { ...options, random: new RandomState(seed), ...more });
  const before = device.memory().live;
  const first = await draw(1);
  assert.equal(device.memory().live, before);
  assert.equal(first.length, 9);
  assert.ok(first.every(({ ids }) => ids.length === 50 && ids.every((id) => id < 40)));
  assert.deepEqual(await draw(1), first);
  assert.notDeepEqual(await draw(2), first);
  assert.notDeepEqual(first[0], first[1]);
  assert.equal(device.memory().live, before);
  model.dispose();
});

Deno.test("generate() draws the same ids on every device", async () => {
  const all: unknown[] = [];
  for (const device of await testDevices()) {
    const model = sharpModel(device);
    all.push(await generate(model, PROMPTS, { length: 15, random: new RandomState(3) }));
    model.dispose();
  }
  for (const found of all) assert.deepEqual(found, all[0]);
});

await onEachDevice("generate() slides over the context when it is told to", async (device) => {
  const model = sharpModel(device);
  const long = Array.from({ length: 30 }, (_, i) => i);
  const options = { length: 60, temperature: 0, overflow: "slide" } as const;
  const found = await generate(model, [long, [3]], options);
  // By hand: what fits is read, then the newer half whenever the context is full.
  const wanted = [long, [3]].map((prompt) => [...prompt]);
  let held = wanted.map((ids) => ids.slice(-24));
  for (let i = 0; i < 60; i++) {
    if (Math.max(...held.map((ids) => ids.length)) > 24) held = held.map((ids) => ids.slice(-12));
    for (const [row, ids] of held.entries()) {
      const [next] = await slowly(ids, 1);
      wanted[row].push(next);
      ids.push(next);
    }
  }
  assert.deepEqual([...found[0].ids], wanted[0].slice(30));
  // The short one is cut as short as the long one needs, so it sees at most 12 and what came since.
  assert.deepEqual([...found[1].ids], wanted[1].slice(1));
  model.dispose();
});

await onEachDevice(
  "generate() avoids what came before with a repetitionPenalty",
  async (device) => {
    const model = sharpModel(device);
    const options = { length: 15, temperature: 0, repetitionPenalty: 1e6 };
    const [{ ids }] = await generate(model, [[1, 2, 3]], options);
    // Some positive score is left unseen in every step, so nothing comes twice.
    assert.equal(new Set([1, 2, 3, ...ids]).size, 18);
    model.dispose();
  },
);

await onEachDevice("generate() never draws ids that only pad the vocabulary", async (device) => {
  const model = sharpModel(device);
  const options = { length: 20, vocabSize: 3, temperature: 5, random: new RandomState(0) };
  const [{ ids }] = await generate(model, [[1]], options);
  assert.deepEqual([...new Set(ids)].sort(), [0, 1, 2]);
  model.dispose();
});

await onEachDevice("generate() lets other tasks run, which may end it", async (device) => {
  const model = sharpModel(device);
  const before = device.memory().live;
  const signal = AbortSignal.timeout(20);
  await assert.rejects(
    generate(model, [[1, 2]], { length: 1e6, overflow: "slide", signal }),
    { name: "TimeoutError" },
  );
  assert.equal(device.memory().live, before);
  model.dispose();
});

await onEachDevice("generate() says when a model has lost its numbers", async (device) => {
  const model = sharpModel(device);
  const weight = model.parameters().get("ln_f.weight")!;
  assign(weight, new Float32Array(weight.size).fill(NaN));
  for (const options of [{ temperature: 0 }, { repetitionPenalty: 2 }]) {
    await assert.rejects(
      generate(model, [[1, 2]], options),
      /^Error: generate: expected finite scores but got only NaN for sequence 0; /,
    );
  }
  model.dispose();
});

await onEachDevice("generate() says what is wrong before it begins", async (device) => {
  const model = sharpModel(device);
  const wrong = [
    [[[]], {}, "expected tokens in the prompt but got none"],
    [[[1], []], {}, "expected tokens in prompt 1 but got none"],
    [[[1, 40]], {}, "expected ids from 0 to 39 but got 40 at 1 of the prompt"],
    [[[1], [0.5]], {}, "expected ids from 0 to 39 but got 0.5 at 0 of prompt 1"],
    [[[1]], { length: -1 }, "expected a length of 0 or more but got -1"],
    [[[1]], { samples: 0 }, "expected samples of 1 or more but got 0"],
    [[[1]], { topP: 2 }, "expected a topP from 0 to 1 but got 2"],
    [
      [[1, 2]],
      { length: 24 },
      "expected at most 24 tokens of context but got a prompt of 2 and 24 more",
    ],
  ] as const;
  for (const [prompts, options, message] of wrong) {
    await assert.rejects(
      generate(model, prompts, options),
      new RangeError(`generate: ${message}`),
    );
  }
  assert.deepEqual(await generate(model, []), []);
  const [{ ids }] = await generate(model, [[1]], { length: 0 });
  assert.equal(ids.length, 0);
  // Without a length it fills the context; the last id is not read any more.
  const [all] = await generate(model, [[1, 2]], { temperature: 0 });
  assert.equal(all.ids.length, 23);
  model.dispose();
});

await onEachDevice(
  "generateTokens() gives ids one by one and frees what it has",
  async (device) => {
    const model = sharpModel(device);
    const options = { length: 20, temperature: 0 };
    const [{ ids }] = await generate(model, [[5, 6]], options);
    const before = device.memory().live;
    assert.deepEqual(await Array.fromAsync(generateTokens(model, [5, 6], options)), [...ids]);
    const some: number[] = [];
    for await (const id of generateTokens(model, [5, 6], options)) {
      some.push(id);
      if (some.length === 4) break;
    }
    assert.deepEqual(some, [...ids.slice(0, 4)]);
    const stop = new AbortController();
    await assert.rejects(async () => {
      for await (const _ of generateTokens(model, [5, 6], { ...options, signal: stop.signal })) {
        stop.abort(new Error("enough"));
      }
    }, /enough/);
    assert.equal(device.memory().live, before);
    model.dispose();
  },
);
