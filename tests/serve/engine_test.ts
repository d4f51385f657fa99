import assert from "node:assert/strict";
import { generate } from "../../src/decode/generate.ts";
import type { NextTokenModel } from "../../src/decode/next_token_model.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import type { CausalLM, CausalLMConfig } from "../../src/models/causal_lm.ts";
import { OutOfMemoryError } from "../../src/device/errors.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { manualSeed, RandomState } from "../../src/tensor/random.ts";
import {
  Engine,
  EngineClosedError,
  type EngineRequest,
  type EngineSequence,
} from "../../src/serve/engine.ts";
import { markovModel } from "../decode/markov_model.ts";
import { sharpModel } from "../decode/sharp_model.ts";
import { onDevice, onEachDevice, testDevices } from "../support/devices.ts";

/** Heads, widths and ids that are no multiples of what kernels take at a time. */
function smallLLaMA(device: Device, maxPositionEmbeddings = 96): LLaMA {
  manualSeed(7);
  return new LLaMA({
    vocabSize: 203,
    maxPositionEmbeddings,
    hiddenSize: 60,
    numHiddenLayers: 2,
    numAttentionHeads: 6,
    numKeyValueHeads: 3,
    intermediateSize: 90,
  }, { device });
}

/** What each request gets: its ids with the exact logarithms of their probabilities. */
async function answers(
  engine: Engine,
  requests: readonly EngineRequest[],
): Promise<[id: number, logprob: number][][]> {
  return await Promise.all(
    engine.submit(requests.map((request) => ({ ...request, logprobs: 0 }))).map(async (sequence) =>
      (await Array.fromAsync(sequence)).map(({ id, logprob }): [number, number] => [id, logprob!])
    ),
  );
}

function requestsOf(count: number): EngineRequest[] {
  return Array.from({ length: count }, (_, i) => ({
    prompt: Array.from(
      { length: 1 + (i * 7) % 40 },
      (_, at) => (at * at + (at < 20 ? 0 : i)) % 203,
    ),
    length: 3 + (i * 5) % 17,
    seed: i,
    temperature: i % 4 === 0 ? 0 : 1.5,
    ...i % 3 === 0 && { topP: 0.8 },
  }));
}

/** Alone, together and where beginnings of prompts are known, each request gets the same to the last bit. */
async function neighboursDoNotMatter(device: Device): Promise<void> {
  await neighboursOf(smallLLaMA(device), requestsOf(device.kind === "cpu" ? 32 : 6));
  const sizes = { vocabSize: 203, maxPositionEmbeddings: 96, hiddenSize: 36 };
  await neighboursOf(sharpModel(device, sizes), requestsOf(6));
}

async function neighboursOf(
  model: CausalLM<CausalLMConfig>,
  requests: readonly EngineRequest[],
): Promise<void> {
  const { device } = model;
  await generate(model, [[1]], { length: 1 }); // makes tables that the device keeps
  const before = device.memory().live;
  let expected: unknown;
  for (const maxBatch of [1, 32]) {
    await using engine = new Engine(model, { maxBatch, chunkSize: 16 });
    const got = await answers(engine, requests);
    expected ??= got;
    assert.deepEqual(got, expected, `in a batch of ${maxBatch}`);
    const { generatedTokens, steps, running, waiting, cachedTokens } = engine.stats;
    assert.equal(generatedTokens, requests.reduce((sum, { length }) => sum + length!, 0));
    assert.deepEqual([running, waiting], [0, 0]);
    assert.ok(cachedTokens > 0, "prompts that begin alike share their beginning");
    if (maxBatch === 1) assert.equal(steps, generatedTokens - requests.length);
    else assert.ok(steps < generatedTokens / 2);
    if (maxBatch === 1) continue;
    const again = await answers(engine, requests.toReversed());
    assert.deepEqual(again.reverse(), expected, "with known prompts");
  }
  assert.equal(device.memory().live, before, "something was left behind");
  model.dispose();
}

await onEachDevice("Engine: neighbours do not matter to the last bit", neighboursDoNotMatter);

const [cpu] = await testDevices();

onDevice("Engine: neighbours do not matter without BLAS", cpu!, async () => {
  using device = CpuDevice.open({ blas: false });
  await neighboursDoNotMatter(device);
});

onDevice("Engine: neighbours do not matter with a cache of int8", cpu!, async (device) => {
  const model = smallLLaMA(device);
  model.cacheDtype = "int8";
  await neighboursOf(model, requestsOf(16));
});

onDevice(
  "Engine: who gives its place back for lack of memory goes on as if nothing was",
  cpu!,
  async (device) => {
    const model = smallLLaMA(device, 400);
    const requests = requestsOf(8).map((request) => ({ ...request, length: 150 }));
    await using plenty = new Engine(model);
    const expected = await answers(plenty, requests);
    assert.equal(plenty.stats.preemptions, 0);
    // Keys and values of a position take 480 bytes: four rows of 128, or two of 256.
    await using little = new Engine(model, { cacheBytes: 300_000 });
    assert.deepEqual(await answers(little, requests), expected);
    assert.ok(little.stats.preemptions > 0);
    assert.throws(
      () => little.submit([{ prompt: new Uint32Array(390), length: 5 }]),
      /fit into 300000 bytes but got one of 395 tokens, which takes/,
    );
    model.dispose();
  },
);

onDevice(
  "Engine: what is read anew does not count as known from earlier prompts",
  cpu!,
  async () => {
    using device = CpuDevice.open({ threads: 1 });
    const model = smallLLaMA(device, 400);
    // Two rows of 192 positions can be bound, which take 120 bytes each, but not of 256.
    Object.defineProperty(device, "maxBindingBytes", { value: 50_000 });
    await using engine = new Engine(model, { chunkSize: 16 });
    const sequences = engine.submit(
      [1, 2].map((id) => ({ prompt: new Array(20).fill(id), length: 200 })),
    );
    await Promise.all(sequences.map((sequence) => Array.fromAsync(sequence)));
    assert.equal(engine.stats.preemptions, 1);
    assert.deepEqual(sequences.map(({ cachedTokens }) => cachedTokens), [0, 0]);
    model.dispose();
  },
);

onDevice(
  "Engine: where memory ends while a sequence joins, none gets wrong ids",
  cpu!,
  async () => {
    using device = CpuDevice.open({ threads: 1 });
    const model = smallLLaMA(device, 200);
    await using engine = new Engine(model);
    const short = [1, 2, 3].map((id) => ({ prompt: [id], length: 60, temperature: 0 }));
    const long = { prompt: new Array<number>(100).fill(4), length: 5, temperature: 0 };
    const expected = await answers(engine, short);
    // With the long one, four rows of 64 positions, of 120 bytes, become four of 128; the third tensor finds no memory.
    const { createBuffer } = device;
    let grown = 0;
    device.createBuffer = (bytes, what) => {
      if (bytes === 4 * 128 * 120 && ++grown === 3) throw new OutOfMemoryError("no memory");
      return createBuffer.call(device, bytes, what);
    };
    const results = await Promise.allSettled(
      engine.submit([...short, long]).map((sequence) => Array.fromAsync(sequence)),
    );
    assert.equal(grown, 3);
    for (const result of results) {
      assert.ok(result.status === "rejected" && result.reason instanceof OutOfMemoryError);
    }
    assert.deepEqual(await answers(engine, short), expected);
    model.dispose();
  },
);

onDevice("Engine: no memory for a known beginning fails its sequence alone", cpu!, async () => {
  using device = CpuDevice.open({ threads: 1 });
  const model = smallLLaMA(device, 200);
  await using engine = new Engine(model);
  const prompt = new Array<number>(130).fill(4);
  await answers(engine, [{ prompt, length: 1 }]);
  const live = device.memory().live;
  const { createBuffer } = device;
  let copied = 0;
  device.createBuffer = (bytes, what) => {
    // Of the first 64 positions, in two layers.
    if (bytes === 64 * 120 && ++copied === 3) throw new OutOfMemoryError("no memory");
    return createBuffer.call(device, bytes, what);
  };
  const [sequence] = engine.submit([{ prompt: [...prompt.slice(0, 64), 5], length: 1 }]);
  await assert.rejects(Array.fromAsync(sequence!), OutOfMemoryError);
  assert.equal(device.memory().live, live);
  assert.equal((await answers(engine, [{ prompt, length: 1 }])).length, 1);
  model.dispose();
});

onDevice("Engine gives about what generate() gives", cpu!, async (device) => {
  const model = sharpModel(device, { maxPositionEmbeddings: 60 });
  await using engine = new Engine(model);
  const prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]];
  const sequences = engine.submit(
    prompts.map((prompt) => ({ prompt, length: 20, seed: 3, temperature: 0.1 })),
  );
  for (const [i, sequence] of sequences.entries()) {
    const random = new RandomState(3);
    const [{ ids }] = await generate(model, [prompts[i]!], {
      length: 20,
      temperature: 0.1,
      random,
    });
    const tokens = await Array.fromAsync(sequence);
    assert.deepEqual(tokens, [...ids].map((id) => ({ id })));
    assert.equal(sequence.finishReason, "length");
  }
  const { ids } = sequences[0]!;
  const stop = ids[10]!;
  const [stopped] = engine.submit([{
    ...{ prompt: [1, 2, 3], seed: 3, temperature: 0.1 },
    stopIds: [stop],
  }]);
  await Array.fromAsync(stopped!);
  assert.deepEqual(stopped!.ids, ids.slice(0, ids.indexOf(stop) + 1));
  assert.equal(stopped!.finishReason, "stop");
  model.dispose();
});

onDevice("Engine tells the logarithms of probabilities", cpu!, async (device) => {
  const scores = [[1, 3, 2, 0], [0, 0, 5, 0], [1, 2, 3, 4], [9, 8, 7, 9]];
  await using engine = new Engine(markovModel(device, scores), { vocabSize: 3 });
  const [sequence] = engine.submit([{ prompt: [0], length: 2, temperature: 0, logprobs: 2 }]);
  const tokens = await Array.fromAsync(sequence!);
  const logprob = (row: number[], id: number) =>
    row[id]! - Math.log(row.slice(0, 3).reduce((sum, x) => sum + Math.exp(x), 0));
  assert.deepEqual(tokens.map(({ id }) => id), [1, 2]);
  for (const [i, ids] of [[1, 2], [2, 0]].entries()) {
    const { logprob: own, top } = tokens[i]!;
    assert.ok(Math.abs(own! - logprob(scores[i]!, ids[0]!)) < 1e-6);
    assert.deepEqual(top!.map(({ id }) => id), ids);
    for (const one of top!) assert.ok(Math.abs(one.logprob - logprob(scores[i]!, one.id)) < 1e-6);
  }
});

onDevice(
  "Engine: clients take turns, a full queue is refused, and who leaves makes room",
  cpu!,
  async (device) => {
    const model = markovModel(device, [[0, 1], [0, 1]]);
    await using engine = new Engine(model, { maxBatch: 1, maxQueue: 5 });
    const request = (client: string, length = 2) => ({
      prompt: [0],
      length,
      client,
      temperature: 0,
    });
    const order: string[] = [];
    const run = async (sequence: EngineSequence, client: string) => {
      await Array.fromAsync(sequence);
      order.push(client + (sequence.finishReason === "cancelled" ? "!" : ""));
    };
    const sequences = engine.submit([
      ...["a", "a", "a"].map((client) => request(client)),
      ...["b", "b", "c"].map((client) => request(client)),
    ]);
    assert.throws(() => engine.submit([request("d")]), {
      name: "QueueFullError",
      message: "Engine: expected at most 5 sequences that wait but got 1 more",
    });
    sequences[4]!.cancel();
    const [last] = engine.submit([request("d")]);
    const clients = ["a", "a", "a", "b", "b", "c", "d"];
    await Promise.all([...sequences, last!].map((sequence, i) => run(sequence, clients[i]!)));
    assert.deepEqual(order.filter((one) => one !== "b!"), ["a", "b", "c", "d", "a", "a"]);
    assert.ok(order.includes("b!"));

    // Leaving the loop early cancels.
    const [long, next] = engine.submit([request("a", 900), request("b")]);
    for await (const _ of long!) break;
    assert.equal(long!.finishReason, "cancelled");
    await Array.fromAsync(next!);
    assert.ok(long!.ids.length < 10);
    assert.deepEqual([engine.stats.running, engine.stats.waiting], [0, 0]);
  },
);

onDevice("Engine: a shutdown finishes what runs and refuses the rest", cpu!, async (device) => {
  const model = markovModel(device, [[0, 1], [0, 1]]);
  const engine = new Engine(model, { maxBatch: 1 });
  const request = { prompt: [0], length: 50 };
  const [first, second] = engine.submit([request, request]);
  const tokens = first![Symbol.asyncIterator]();
  await tokens.next();
  const done = engine.shutdown();
  assert.ok(!engine.open);
  assert.throws(() => engine.submit([request]), EngineClosedError);
  await assert.rejects(Array.fromAsync(second!), EngineClosedError);
  let rest = 1;
  while (!(await tokens.next()).done) rest++;
  assert.equal(rest, 50);
  await done;
  assert.equal(engine.stats.cacheBytes, 0);
});

onDevice(
  "Engine says what is wrong, and what fails fails alone where it can",
  cpu!,
  async (device) => {
    const model = markovModel(device, [[0, 1], [NaN, NaN]], 20);
    await using engine = new Engine(model);
    for (
      const [request, message] of [
        [{ prompt: [] }, /expected tokens in the prompt but got none/],
        [{ prompt: [2] }, /expected ids from 0 to 1 but got 2/],
        [{ prompt: [0], length: 0 }, /expected a length of 1 or more but got 0/],
        [{ prompt: [0], length: 30 }, /expected at most 20 tokens of context/],
        [{ prompt: [0], temperature: -1 }, /expected a temperature of 0 or more/],
        [{ prompt: [0], logprobs: 3 }, /expected logprobs from 0 to 2 but got 3/],
      ] as [EngineRequest, RegExp][]
    ) assert.throws(() => engine.submit([request]), { name: "RangeError", message });
    assert.throws(
      () => new Engine(model, { maxBatch: 0 }),
      /expected a maxBatch of 1 or more but got 0/,
    );
    const [bad, good] = engine.submit([{ prompt: [1], length: 3 }, { prompt: [0], length: 1 }]);
    await assert.rejects(Array.fromAsync(bad!), /no score of the sequence is a number/);
    assert.equal((await Array.fromAsync(good!)).length, 1);
    // A pass that fails: those that were in it fail, the next ones do not.
    let fail = false;
    const failing: NextTokenModel = {
      ...model,
      nextLogits(ids, options) {
        if (fail) throw new Error("out of luck");
        return model.nextLogits(ids, options);
      },
    };
    await using other = new Engine(failing);
    const [first] = other.submit([{ prompt: [0], length: 5, temperature: 0, stopIds: [] }]);
    fail = true;
    await assert.rejects(Array.fromAsync(first!), /out of luck/);
    fail = false;
    const [second] = other.submit([{ prompt: [0], length: 1 }]);
    assert.equal((await Array.fromAsync(second!)).length, 1);
    assert.equal(await other.run(() => 5), 5);
    await assert.rejects(other.run(() => Promise.reject(new Error("no"))), /^Error: no$/);
  },
);
