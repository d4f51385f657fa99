// The order in which a shuffled loader walks documents: over the edges of epochs, shards and batches.
import assert from "node:assert/strict";
import { type ShuffleOptions, TokenLoader } from "../../src/data/loader.ts";
import { memoryShard, type TokenSource } from "../../src/data/shards.ts";
import { shuffledOrder } from "../../src/data/shuffled_order.ts";

const SEPARATOR = 0;

/** Shards of documents: the separator, then the document's own id, once or several times. */
function shardsOf(documentCounts: readonly number[]): number[][] {
  let id = 1;
  return documentCounts.map((count) =>
    Array.from({ length: count }, () => {
      const document = [SEPARATOR, ...Array<number>(1 + id % 3).fill(id)];
      id++;
      return document;
    }).flat()
  );
}

const sourcesOf = (shards: readonly number[][]): TokenSource[] =>
  shards.map((tokens, i) => memoryShard(Uint16Array.from(tokens), `shard ${i}`));

function open(shards: readonly number[][], shuffle?: ShuffleOptions, contextSize = 5) {
  return TokenLoader.open(sourcesOf(shards), { batchSize: 2, contextSize, shuffle });
}

/** The first `count` inputs, in batches that end nowhere near the end of an epoch. */
async function walk(shards: readonly number[][], seed: number, count: number): Promise<number[]> {
  await using loader = await open(shards, { seed, separator: SEPARATOR });
  const inputs: number[] = [];
  const targets: number[] = [];
  while (inputs.length < count + 1) {
    const batch = await loader.next();
    inputs.push(...batch.inputs);
    targets.push(...batch.targets);
  }
  assert.deepEqual(targets.slice(0, count), inputs.slice(1, count + 1));
  return inputs.slice(0, count);
}

/** The epochs of a walk. */
async function epochs(shards: readonly number[][], seed: number, count: number) {
  const total = shards.flat().length;
  const tokens = await walk(shards, seed, total * count);
  return Array.from(
    { length: count },
    (_, epoch) => tokens.slice(epoch * total, (epoch + 1) * total),
  );
}

const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b);
/** Ids of documents in the order in which they begin. */
const documentsOf = (tokens: readonly number[]) =>
  tokens.filter((token, i) => token !== SEPARATOR && token !== tokens[i - 1]);

Deno.test("a shuffled TokenLoader gives every token once in each epoch when batches span epochs", async () => {
  const shards = shardsOf([4, 1, 7, 2]);
  const total = shards.flat().length;
  assert.notEqual(total % 10, 0, "a batch has to span two epochs");
  for (const seed of [1, 2, 3]) {
    for (const epoch of await epochs(shards, seed, 4)) {
      assert.deepEqual(sorted(epoch), sorted(shards.flat()));
    }
  }
});

Deno.test("a shuffled TokenLoader orders shards anew in every epoch, and keeps each in one piece", async () => {
  const shards = shardsOf([1, 1, 1, 1, 1, 1]); // one document each: only their order can change
  const orders = (await epochs(shards, 5, 6)).map((epoch) => documentsOf(epoch).join());
  assert.equal(new Set(orders).size, 6);
  const [large] = await epochs(shardsOf([8, 8]), 5, 1);
  const fromFirst = documentsOf(large).map((id) => id <= 8);
  assert.equal(fromFirst.filter((is, i) => i > 0 && is !== fromFirst[i - 1]).length, 1);
});

Deno.test("a shuffled TokenLoader orders documents anew in every epoch and in every shard", async () => {
  const one = (await epochs(shardsOf([9]), 5, 6)).map((epoch) => documentsOf(epoch).join());
  assert.equal(new Set(one).size, 6);
  const [both] = await epochs(shardsOf([9, 9]), 5, 1);
  const ids = documentsOf(both);
  const orderWithin = (first: number) =>
    ids.filter((id) => id >= first && id < first + 9).map((id) => id - first).join();
  assert.notEqual(orderWithin(1), orderWithin(10));
  const two = (await epochs(shardsOf([2]), 1, 12)).map((epoch) => documentsOf(epoch).join());
  assert.deepEqual(new Set(two), new Set(["1,2", "2,1"]));
});

Deno.test("a shuffled TokenLoader leaves the rest of a document at the beginning of a shard", async () => {
  // The first shard ends inside document 1, which the second goes on with.
  const shards = [[0, 1, 1], [1, 1, 0, 2, 2, 0, 3, 0, 4], [9, 9]];
  const seen = new Set<string>();
  for (const epoch of await epochs(shards, 3, 8)) {
    const text = epoch.join(" ");
    const [, rest] = /(?:^| )1 1 (0 (?:2 2|3|4)(?: 0 (?:2 2|3|4)){2})(?= |$)/.exec(text) ?? [];
    assert.ok(rest, `the second shard does not stand in ${text}`);
    seen.add(rest);
    assert.match(text, /(^| )0 1 1( |$)/);
    assert.match(text, /(^| )9 9( |$)/);
  }
  assert.ok(seen.size > 2, [...seen].join("; "));
});

Deno.test("a shuffled TokenLoader can be restored to any position, also of an epoch before", async () => {
  const shards = shardsOf([3, 5, 1]);
  const shuffle = { seed: 11, separator: SEPARATOR };
  await using straight = await open(shards, shuffle, 3);
  const states = [];
  const batches = [];
  for (let i = 0; i < 14; i++) {
    states.push(straight.state());
    batches.push(await straight.next());
  }
  assert.ok(straight.epoch >= 2);
  for (const [i, state] of states.entries()) {
    await using fresh = await open(shards, shuffle, 3);
    fresh.restore(state);
    straight.restore(state);
    for (const loader of [fresh, straight]) {
      assert.deepEqual(await loader.next(), batches[i], `batch ${i}`);
    }
    straight.restore(states.at(-1)!); // the farthest epoch
    await straight.next();
  }
  straight.seek(0);
  assert.deepEqual(await straight.next(), batches[0]);
});

Deno.test("shuffledOrder() gives every permutation, and another for each seed and epoch", () => {
  const seen = new Map<string, number>();
  for (let seed = 0; seed < 600; seed++) {
    const order = shuffledOrder(3, seed, 0);
    assert.deepEqual([...order].sort(), [0, 1, 2]);
    seen.set(order.join(), (seen.get(order.join()) ?? 0) + 1);
  }
  assert.equal(seen.size, 6);
  for (const [order, count] of seen) assert.ok(count > 60 && count < 140, `${order}: ${count}`);
  const many = new Set<string>();
  for (let seed = 0; seed < 8; seed++) {
    for (let epoch = 0; epoch < 8; epoch++) many.add(shuffledOrder(20, seed, epoch).join());
  }
  assert.equal(many.size, 64);
  assert.deepEqual(shuffledOrder(20, 4, 2), shuffledOrder(20, 4, 2));
});

Deno.test("TokenLoader.next() names the index of a wrong id within its shard, and refuses the first beyond", async () => {
  const shard = memoryShard(Uint16Array.of(1, 2, 3, 4, 5, 50, 6), "a");
  const options = { batchSize: 1, contextSize: 2, vocabSize: 50 };
  await using loader = await TokenLoader.open([shard], options);
  await loader.next();
  await loader.next();
  await assert.rejects(loader.next(), /^RangeError: a: expected ids .* got 50 as token 5/);
  await using enough = await TokenLoader.open([shard], { ...options, vocabSize: 51 });
  await enough.next();
  assert.deepEqual([...(await enough.next()).targets], [4, 5]);
  assert.deepEqual([...(await enough.next()).targets], [50, 6]);
});
