// What every option of sampling does to what is drawn, row by row.
import assert from "node:assert/strict";
import { generate, generateTokens } from "../../src/decode/generate.ts";
import { argmax } from "../../src/ops/reduce.ts";
import type { SamplingOptions } from "../../src/ops/sampling.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { testDevices } from "../support/devices.ts";
import { markovModel } from "./markov_model.ts";
import { sharpModel } from "./sharp_model.ts";

const [device] = await testDevices();
/** Devices and their threads live as long as the process. */
const open = { sanitizeResources: false, sanitizeOps: false };

const TABLE = [
  [1.5, -0.5, 0.5, 1, -2, 0.75],
  [-1, 2, 0, 0.25, 1.75, -3],
  [0.5, 0.4, 0.3, 0.2, 0.1, 0],
  [3, -1, -1, -1, 2, 1],
  [-0.5, 0.25, -1.5, 1.25, 0, 0.5],
  [0, 0, 0, 0, 0, 5],
];

/** The probabilities that the options leave of `scores`, by the definitions in their documentation. */
function probabilities(
  scores: readonly number[],
  seen: readonly number[],
  options: SamplingOptions,
): number[] {
  const { repetitionPenalty = 1, temperature = 1, topK = scores.length, topP = 1, minP = 0 } =
    options;
  const { vocabSize = scores.length } = options;
  const sharp = scores.map((score, id) => {
    if (id >= vocabSize) return -Infinity;
    if (!seen.includes(id)) return score / temperature;
    return (score > 0 ? score / repetitionPenalty : score * repetitionPenalty) / temperature;
  });
  const normed = (values: number[]) => {
    const sum = values.reduce((a, b) => a + b, 0);
    return values.map((value) => value / sum);
  };
  const ranked = sharp.map((_, id) => id).sort((a, b) => sharp[b] - sharp[a]);
  const kept = new Set(ranked.slice(0, topK));
  const masses = normed(sharp.map((value, id) => kept.has(id) ? Math.exp(value) : 0));
  let mass = 0;
  const nucleus = new Set(ranked.filter((id) => {
    const isNeeded = mass < topP;
    mass += masses[id];
    return isNeeded;
  }));
  const highest = Math.max(...masses);
  return normed(masses.map((p, id) => nucleus.has(id) && p >= minP * highest ? p : 0));
}

Deno.test("generate() draws with the probabilities that its options leave", open, async () => {
  const all: SamplingOptions[] = [
    {},
    { temperature: 0.4 },
    { temperature: 2 },
    { topK: 3 },
    { topP: 0.7 },
    { minP: 0.3 },
    { vocabSize: 4 },
    { repetitionPenalty: 1.8 },
    { repetitionPenalty: 0.5, temperature: 1.5 },
    { repetitionPenalty: 2, temperature: 0.7, topK: 4, topP: 0.9, minP: 0.1, vocabSize: 5 },
  ];
  const samples = 1000;
  const prompts = [[0], [3, 1], [5, 2, 4]];
  for (const options of all) {
    const model = markovModel(device, TABLE);
    const random = new RandomState(4);
    const rows = await generate(model, prompts, { ...options, samples, length: 1, random });
    assert.equal(rows.length, prompts.length * samples);
    for (const [p, prompt] of prompts.entries()) {
      const counts = new Array<number>(6).fill(0);
      for (const { ids } of rows.slice(p * samples, (p + 1) * samples)) counts[ids[0]]++;
      probabilities(TABLE[prompt.at(-1)!], prompt, options).forEach((probability, id) => {
        const about = 4.5 * Math.sqrt(probability * (1 - probability) / samples);
        assert.ok(
          Math.abs(counts[id] / samples - probability) <= about,
          `${JSON.stringify(options)} after ${prompt}: ${id} came ${counts[id]} times of ` +
            `${samples}, expected ${(probability * samples).toFixed(0)}`,
        );
      });
    }
  }
});

Deno.test("generate() penalises in each row what that row has had", open, async () => {
  const prompts = [[0, 1, 4], [0], [5, 4], [2, 3, 1, 4]];
  const options = { temperature: 0, repetitionPenalty: 3 };
  const found = await generate(markovModel(device, TABLE), prompts, { ...options, length: 8 });
  for (const [p, prompt] of prompts.entries()) {
    const ids = [...prompt];
    for (let i = 0; i < 8; i++) {
      const scores = probabilities(TABLE[ids.at(-1)!], ids, { repetitionPenalty: 3 });
      ids.push(scores.indexOf(Math.max(...scores)));
    }
    assert.deepEqual([...found[p].ids], ids.slice(prompt.length), `prompt ${p}`);
  }
});

Deno.test("generate() continues each prompt in all of its samples", open, async () => {
  const prompts = [[1], [2, 3], [4, 5, 6]];
  const options = { length: 6, temperature: 0 };
  const model = sharpModel(device);
  const several = await generate(model, prompts, { ...options, samples: 2 });
  for (const [p, prompt] of prompts.entries()) {
    const [alone] = await generate(model, [prompt], options);
    assert.deepEqual(several.slice(2 * p, 2 * p + 2), [alone, alone], `prompt ${p}`);
  }
  model.dispose();
});

Deno.test("generate() reads no more once every row has ended", open, async () => {
  // 0, 1, 2, ...: each id is followed by the next.
  const table = Array.from(
    { length: 8 },
    (_, id) => Array.from({ length: 8 }, (_, next) => next === (id + 1) % 8 ? 9 : 0),
  );
  const model = markovModel(device, table);
  const options = { length: 500, temperature: 0, stopIds: [5] };
  const rows = await generate(model, [[3], [1]], options);
  assert.deepEqual(rows.map(({ ids, ended }) => [...ids, ended]), [[4, 5, "stop"], [
    ...[2, 3, 4, 5],
    "stop",
  ]]);
  assert.ok(model.reads.length <= 5, `${model.reads.length} calls`);
  const before = model.reads.length;
  const ids = await Array.fromAsync(generateTokens(model, [0], options));
  assert.deepEqual(ids, [1, 2, 3, 4, 5]);
  assert.ok(model.reads.length - before <= 6, `${model.reads.length - before} calls`);
});

Deno.test("generate() reads nothing when its signal is pulled already", open, async () => {
  const model = markovModel(device, TABLE);
  const signal = AbortSignal.abort(new Error("too late"));
  await assert.rejects(generate(model, [[1]], { length: 5, signal }), /too late/);
  assert.equal(model.reads.length, 0);
});

Deno.test("generate() names the row whose scores are lost", open, async () => {
  const table = TABLE.map((row, id) => id === 4 ? row.map(() => NaN) : row);
  for (const options of [{ temperature: 0 }, { topK: 3 }]) {
    await assert.rejects(
      generate(markovModel(device, table), [[1], [2], [4]], { ...options, length: 1 }),
      /sequence 2\b/,
    );
  }
});

Deno.test("generate() fills the context to its last token, and not one more", open, async () => {
  const edge = (length: number, more?: number) =>
    generate(markovModel(device, TABLE, 5), [Array<number>(length).fill(1)], { length: more });
  // The last token is drawn and not read.
  for (const [length, most] of [[1, 5], [4, 2], [5, 1]]) {
    const [{ ids }] = await edge(length, most);
    assert.equal(ids.length, most);
    const [{ ids: byDefault }] = await edge(length);
    assert.equal(byDefault.length, most, "what is left of the context");
    await assert.rejects(edge(length, most + 1), RangeError);
  }
  for (const more of [0, 1, undefined]) await assert.rejects(edge(6, more), RangeError);
  assert.equal((await edge(5, 0))[0].ids.length, 0);
});

Deno.test(
  "generate() slides over contexts of any length as reading the rest anew does",
  open,
  async () => {
    for (const contextSize of [7, 8]) {
      const model = sharpModel(device, { maxPositionEmbeddings: contextSize });
      const next = async (ids: readonly number[]): Promise<number> => {
        using _scope = new Scope();
        const row = tensor(Int32Array.from(ids), { shape: [1, ids.length], device });
        return await argmax(model.nextLogits(row)).item();
      };
      for (const length of [1, contextSize - 1, contextSize, contextSize + 1, 20, 21, 22]) {
        const prompt = Array.from({ length }, (_, i) => (i * 17 + length * 5) % 40);
        const options = { length: 15, temperature: 0, overflow: "slide" } as const;
        const [{ ids }] = await generate(model, [prompt], options);
        const wanted: number[] = [];
        let held = prompt.slice(-contextSize);
        for (let i = 0; i < 15; i++) {
          if (held.length > contextSize) held = held.slice(-Math.ceil(contextSize / 2));
          held.push(await next(held));
          wanted.push(held.at(-1)!);
        }
        assert.deepEqual([...ids], wanted, `${length} tokens in a context of ${contextSize}`);
      }
      model.dispose();
    }
  },
);
