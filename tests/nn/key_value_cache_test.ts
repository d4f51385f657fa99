import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { KeyValueCache } from "../../src/nn/key_value_cache.ts";
import { attention } from "../../src/ops/attention.ts";
import { tensor, zeros } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { assertSame, assertTensorsClose } from "../support/compare.ts";
import { sharpModel } from "../decode/sharp_model.ts";
import { onEachDevice } from "../support/devices.ts";

const CONFIG = {
  vocabSize: 23,
  maxPositionEmbeddings: 80,
  hiddenSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 3,
};

function model(device: Device, Model: typeof GPT2 = GPT2): GPT2 {
  return new Model(CONFIG, { device });
}

/** Repeatable ids. */
function draw(length: number, seed: number): number[] {
  return Array.from({ length }, (_, i) => (i * i * 7 + i * 3 + seed * 5) % CONFIG.vocabSize);
}

function batch(device: Device, rows: number[][]): Tensor {
  return tensor(Int32Array.from(rows.flat()), { shape: [rows.length, rows[0].length], device });
}

for (const Model of [GPT2, GPT3]) {
  await onEachDevice(`cached logits of ${Model.name} equal uncached ones`, async (device) => {
    using _scope = new Scope();
    const gpt = model(device, Model);
    using cache = gpt.createCache(2);
    const rows = [draw(72, 1), draw(72, 2)];
    let seen = 0;
    for (const count of [5, 1, 1, 55, 1, 1, 1, 1, 1, 5]) {
      const part = rows.map((row) => row.slice(seen, seen + count));
      const got = gpt.nextLogits(batch(device, part), { cache });
      seen += count;
      await assertTensorsClose(
        got,
        gpt.nextLogits(batch(device, rows.map((row) => row.slice(0, seen)))),
      );
    }
    assert.equal(cache.length, 72);
    assert.equal(cache.capacity, 80);
    gpt.dispose();
  });

  await onEachDevice(
    `rows of ${Model.name} of unequal length go on from their own ends`,
    async (device) => {
      using _scope = new Scope();
      const gpt = model(device, Model);
      using cache = gpt.createCache(3);
      const lengths = [2, 61, 7];
      const rows = lengths.map((length, seed) => draw(length, seed));
      const padded = rows.map((row) => [...row, ...Array(61 - row.length).fill(0)]);
      const check = async (got: Tensor) => {
        for (const [b, row] of rows.entries()) {
          const alone = gpt.nextLogits(batch(device, [row]));
          const all = await got.data();
          const mine = all.slice(b * CONFIG.vocabSize, (b + 1) * CONFIG.vocabSize);
          await assertTensorsClose(tensor(mine, { shape: alone.shape, device }), alone);
        }
      };
      await check(gpt.nextLogits(batch(device, padded), { cache, lengths }));
      for (let step = 0; step < 5; step++) {
        const next = rows.map((_, b) => (b * 5 + step * 3) % CONFIG.vocabSize);
        rows.forEach((row, b) => row.push(next[b]));
        await check(gpt.nextLogits(batch(device, next.map((id) => [id])), { cache }));
      }
      gpt.dispose();
    },
  );
}

/**
 * What smaller caches take of the memory of f32, with heads of 8 numbers, and by how much logits may differ, relative to
 * the largest one: f16 rounds a number by at most 2^-11 of it, int8 by 1/254 of the head's largest, in each of two
 * layers.
 */
const SMALLER = [["f16", 1 / 2, 2e-3], ["int8", (8 + 4) / (4 * 8), 2e-2]] as const;

for (const [dtype, share, tolerance] of SMALLER) {
  await onEachDevice(`a cache of ${dtype} takes less memory than one of f32`, async (device) => {
    if (dtype === "f16" && !device.dtypes.has("f16")) return;
    using _scope = new Scope();
    const gpt = sharpModel(device, CONFIG);
    const rows = [draw(61, 1), draw(61, 2)], lengths = [61, 40];
    const scores: ArrayLike<number>[] = [], bytes: number[] = [];
    for (const cacheDtype of ["f32", dtype] as const) {
      gpt.cacheDtype = cacheDtype;
      using cache = gpt.createCache(2);
      assert.equal(
        cache.bytesFor(2, 64),
        2 * 2 * 2 * 64 * 24 * 4 * (cacheDtype === "f32" ? 1 : share),
      );
      const before = device.memory().live;
      gpt.nextLogits(batch(device, rows), { cache, lengths }).dispose();
      assert.ok(device.memory().live - before >= cache.bytes);
      gpt.nextLogits(batch(device, [[3], [4]]), { cache });
      cache.select([1, 0, 1]);
      cache.remove(0);
      scores.push(await gpt.nextLogits(batch(device, [[5], [6]]), { cache }).data());
      bytes.push(cache.bytes);
    }
    assert.equal(bytes[1], share * bytes[0]!);
    assert.notDeepEqual(scores[0], scores[1]);
    const largest = Math.max(...Array.from(scores[0]!, Math.abs));
    for (let i = 0; i < scores[0]!.length; i++) {
      const off = Math.abs(scores[1]![i]! - scores[0]![i]!) / largest;
      assert.ok(off < tolerance, `expected logit ${i} within ${tolerance} but it is off by ${off}`);
    }
    gpt.dispose();
  });
}

await onEachDevice("KeyValueCache.select() moves, repeats and drops rows", async (device) => {
  using _scope = new Scope();
  const gpt = model(device);
  for (const lengths of [[6, 6, 6], [3, 6, 4]]) {
    using cache = gpt.createCache(3);
    const rows = [draw(6, 1), draw(6, 2), draw(6, 3)];
    gpt.nextLogits(batch(device, rows), { cache, lengths });
    cache.select([2, 0, 0, 1]);
    assert.equal(cache.batch, 4);
    cache.select([0, 1, 2, 3]);
    cache.select([1, 3, 0]);
    const expected = [0, 1, 2].map((row) => [...rows[row].slice(0, lengths[row]), 9]);
    const got = gpt.nextLogits(batch(device, [[9], [9], [9]]), { cache });
    for (const [b, row] of expected.entries()) {
      const mine = (await got.data()).slice(b * CONFIG.vocabSize, (b + 1) * CONFIG.vocabSize);
      const alone = gpt.nextLogits(batch(device, [row]));
      await assertTensorsClose(tensor(mine, { shape: alone.shape, device }), alone);
    }
    assert.throws(() => cache.select([3]), /rows from 0 to 2 but got 3/);
  }
  gpt.dispose();
});

await onEachDevice("KeyValueCache leaves nothing behind and can be filled anew", async (device) => {
  const gpt = model(device);
  const before = device.memory().live;
  {
    using _scope = new Scope();
    using cache = gpt.createCache(2);
    const ids = batch(device, [draw(4, 1), draw(4, 2)]);
    const first = await gpt.nextLogits(ids, { cache, lengths: [2, 4] }).data();
    cache.clear();
    assertSame(await gpt.nextLogits(ids, { cache, lengths: [2, 4] }).data(), first);
  }
  assert.equal(device.memory().live, before);
  gpt.dispose();
});

await onEachDevice("KeyValueCache refuses what it cannot hold", (device) => {
  using _scope = new Scope();
  const gpt = model(device);
  const ids = (rows: number, length: number) =>
    batch(device, Array.from({ length: rows }, () => draw(length, 1)));
  using cache = gpt.createCache(2);
  gpt.nextLogits(ids(2, 70), { cache });
  assert.throws(
    () => gpt.nextLogits(ids(2, 11), { cache }),
    /expected at most 80 positions but got 11 after 70/,
  );
  using ragged = gpt.createCache(2);
  assert.throws(
    () => gpt.nextLogits(ids(2, 3), { cache: ragged, lengths: [3] }),
    /2 lengths, one a row, but got 1/,
  );
  gpt.nextLogits(ids(2, 3), { cache: ragged, lengths: [3, 1] });
  assert.throws(
    () => gpt.nextLogits(ids(2, 2), { cache: ragged }),
    /one token at a time, .* but got 2/,
  );
  using trained = gpt.createCache(2);
  assert.throws(() => gpt.hidden(ids(2, 3), { cache: trained }), /use noGrad/);
  gpt.cacheDtype = "int8";
  using observed = gpt.createCache(2);
  assert.throws(
    () => noGrad(() => gpt.hidden(ids(2, 3), { cache: observed, observe: () => {} })),
    /attentionWeights: expected keys of f32 or f16 but got int8/,
  );
  const q = zeros([2, 1, 3, 8], { device });
  observed.clear();
  observed.extend(1);
  const { keys, values } = observed.layer(0).append(q, q);
  const options = { layout: "BTHD", causal: true, keyLength: 1 } as const;
  assert.deepEqual(attention(q, keys, values, options).shape, q.shape);
  q.requiresGrad = true;
  assert.throws(() => attention(q, keys, values, options), /expected noGrad where keys are int8/);
  using other = new KeyValueCache({
    ...{ device, batch: 2, layers: 2, kvHeads: 3, headSize: 4, contextSize: 80 },
  });
  assert.throws(
    () => gpt.nextLogits(ids(2, 3), { cache: other }),
    /expected keys and values \[2, 3, 3, 4\] but got \[2, 3, 3, 8\]/,
  );
  gpt.dispose();
});

await onEachDevice("a truncated cache goes on from its new end", async (device) => {
  using _scope = new Scope();
  const gpt = model(device);
  using cache = gpt.createCache(2);
  const rows = [draw(20, 1), draw(20, 2)];
  gpt.nextLogits(batch(device, rows), { cache });
  cache.truncate(7);
  assert.equal(cache.length, 7);
  const part = rows.map((row) => row.slice(3, 9));
  const whole = rows.map((row, b) => [...row.slice(0, 7), ...part[b]]);
  await assertTensorsClose(
    gpt.nextLogits(batch(device, part), { cache }),
    gpt.nextLogits(batch(device, whole)),
  );
  assert.throws(() => cache.truncate(14), {
    name: "RangeError",
    message: "KeyValueCache: expected a length from 0 to 13 but got 14",
  });
  cache.clear();
  cache.extend(3, [3, 1]);
  assert.throws(() => cache.truncate(1), /expected rows of equal length/);
  gpt.dispose();
});
