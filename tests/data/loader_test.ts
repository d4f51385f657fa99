import assert from "node:assert/strict";
import { join } from "node:path";
import { type Batch, TokenLoader, type TokenLoaderOptions } from "../../src/data/loader.ts";
import { memoryShard, type TokenSource } from "../../src/data/shards.ts";
import { writeLlmcTokens } from "../../src/io/llmc_bin.ts";
import { shareOf } from "../../src/distributed/communicator.ts";
import { writeNpy } from "../../src/io/npy.ts";
import { assertSame } from "../support/compare.ts";

/** Small integers from a fixed stream (a linear congruential generator). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

/** Tokens 0, 1, 2, ... in shards of the given lengths. */
function countingShards(lengths: number[]): TokenSource[] {
  let next = 0;
  return lengths.map((length, i) =>
    memoryShard(Uint16Array.from({ length }, () => next++), `shard ${i}`)
  );
}

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
const two = { batchSize: 1, contextSize: 2 };

Deno.test("TokenLoader gives positions that begin again at each document and row", async () => {
  const tokens = Uint16Array.of(9, 1, 2, 9, 3, 9, 9, 4, 5, 6, 7, 8);
  const options = { batchSize: 1, contextSize: 5 };
  await using plain = await TokenLoader.open(tokens, options);
  assert.equal((await plain.next()).positions, undefined);
  await using loader = await TokenLoader.open(tokens, { ...options, documentSeparator: 9 });
  const { inputs, positions } = await loader.next(2);
  assert.deepEqual([...inputs], [9, 1, 2, 9, 3, 9, 9, 4, 5, 6]);
  assert.deepEqual([...positions!], [0, 1, 2, 0, 1, 0, 0, 1, 2, 3]);
});

Deno.test("TokenLoader gives the corpus in a ring when shards have any sizes", async () => {
  const random = randomNumbers(1);
  for (let trial = 0; trial < 60; trial++) {
    const lengths = Array.from({ length: 1 + random(5) }, () => 1 + random(40)).concat(1);
    const total = sum(lengths);
    const options = { batchSize: 1 + random(4), contextSize: 1 + random(20) };
    await using loader = await TokenLoader.open(countingShards(lengths), options);
    const inputs: number[] = [];
    const targets: number[] = [];
    while (inputs.length < 3 * total) {
      assert.equal(loader.epoch, Math.floor(inputs.length / total));
      const batch = await loader.next();
      assert.equal(batch.inputs.length, options.batchSize * options.contextSize);
      inputs.push(...batch.inputs);
      targets.push(...batch.targets);
    }
    assertSame(inputs, inputs.map((_, i) => i % total), `shards of ${lengths}`);
    assertSame(targets, inputs.map((id) => (id + 1) % total));
  }
});

Deno.test("TokenLoader goes on identically when it is restored at any moment", async () => {
  const random = randomNumbers(2);
  for (let trial = 0; trial < 20; trial++) {
    const lengths = Array.from({ length: 1 + random(4) }, () => 2 + random(30));
    const options = { batchSize: 1 + random(3), contextSize: 1 + random(9) };
    await using straight = await TokenLoader.open(countingShards(lengths), options);
    const wanted: Batch[] = [];
    const states: string[] = [];
    for (let i = 0; i < 12; i++) {
      states.push(JSON.stringify(straight.state()));
      wanted.push(await straight.next());
    }
    for (const [i, state] of states.entries()) {
      await using fresh = await TokenLoader.open(countingShards(lengths), options);
      for (const loader of [fresh, straight]) {
        loader.restore(JSON.parse(state));
        for (const batch of wanted.slice(i, i + 3)) assertSame(await loader.next(), batch);
      }
    }
  }
});

Deno.test("TokenLoader gives processes their parts of each step, once every token", async () => {
  const lengths = [20, 17];
  const pairs = { batchSize: 2, contextSize: 2 };
  for (const ranks of [1, 2, 3]) {
    const loaders = await Promise.all(
      Array.from({ length: ranks }, () => TokenLoader.open(countingShards(lengths), pairs)),
    );
    const seen: number[] = [];
    for (let step = 0; step < 5; step++) {
      for (const [rank, loader] of loaders.entries()) {
        const { start, end } = shareOf(7, { rank, size: ranks });
        const begin = loader.position;
        loader.seek(begin + start * loader.contextSize);
        for (let row = start; row < end; row += loader.batchSize) {
          const rows = Math.min(loader.batchSize, end - row);
          seen.push(...(await loader.next(rows)).inputs);
        }
        loader.seek(begin + 7 * loader.contextSize);
      }
    }
    assert.equal(seen.length, 5 * 7 * two.contextSize);
    assert.deepEqual(seen, seen.map((_, i) => i % 37));
    for (const loader of loaders) {
      assert.deepEqual(loader.state(), loaders[0].state());
      await loader.close();
    }
  }
});

Deno.test("TokenLoader reads npy and llm.c shards when they stand side by side", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const paths = ["a_train_000000.npy", "a_train_000001.bin", "a_train_000002.npy"]
      .map((name) => join(folder, name));
    await writeNpy(paths[0], Uint16Array.of(0, 1, 2, 3, 4));
    await writeLlmcTokens(paths[1], Uint16Array.of(5, 6));
    await writeNpy(paths[2], Int32Array.of(7, 8, 9, 10));
    const options = { batchSize: 2, contextSize: 2 };
    await using loader = await TokenLoader.open(paths, options);
    assert.equal(loader.corpusTokens, 11);
    assert.deepEqual(loader.shards.map((shard) => shard.length), [5, 2, 4]);
    const seen: number[] = [];
    for (let i = 0; i < 11; i++) seen.push(...(await loader.next()).inputs);
    assert.deepEqual(seen, seen.map((_, i) => i % 11));
    assert.equal(loader.epoch, 4);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("TokenLoader reads ahead when a batch is handed out", async () => {
  const reads: number[] = [];
  const source: TokenSource = {
    name: "counted",
    length: 100,
    read(start, count) {
      reads.push(start);
      return Promise.resolve(Uint16Array.from({ length: count }, (_, i) => start + i));
    },
    close() {},
  };
  await using loader = await TokenLoader.open([source], { batchSize: 1, contextSize: 10 });
  await loader.next();
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(reads, [0, 10]);
  assert.equal(loader.state().position, 10);
  await loader.next();
  loader.seek(0);
  assert.deepEqual((await loader.next()).inputs[0], 0);
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(reads, [0, 10, 20, 0, 10]);
});

Deno.test("TokenLoader gives batches in order when next() is not waited for", async () => {
  await using loader = await TokenLoader.open(countingShards([7, 9, 3]), two);
  const batches = await Promise.all([1, 2, 3, 4, 5].map(() => loader.next()));
  assert.deepEqual(batches.flatMap((batch) => [...batch.inputs]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

Deno.test("TokenLoader.next() throws when an id is not in the vocabulary", async () => {
  const shards = [
    memoryShard(Uint16Array.of(1, 2, 3), "a"),
    memoryShard(Uint16Array.of(4, 99), "b"),
  ];
  await using loader = await TokenLoader.open(shards, { ...two, vocabSize: 50 });
  await loader.next();
  await assert.rejects(
    loader.next(),
    /^RangeError: b: expected ids below the vocabulary's 50 but got 99 as token 1$/,
  );
  const negative = [memoryShard(Int32Array.of(0, -1), "c")];
  await using other = await TokenLoader.open(negative, { ...two, vocabSize: 50 });
  await assert.rejects(other.next(), /c: expected ids .* but got -1 as token 1/);
});

Deno.test("TokenLoader.next() throws when a shard shrinks while it is in use", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "a_000000.npy");
    await writeNpy(path, new Uint16Array(100));
    await using loader = await TokenLoader.open([path], two);
    await Deno.truncate(path, 130);
    await assert.rejects(loader.next(), /a_000000.npy: expected 6 bytes .* a file of 130/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("TokenLoader throws when options or data are impossible", async () => {
  const open = (data: Uint16Array | TokenSource[], options: TokenLoaderOptions) =>
    TokenLoader.open(data, options);
  const tokens = new Uint16Array(9);
  await assert.rejects(
    open(tokens, { batchSize: 0, contextSize: 1 }),
    /TokenLoader: expected an integer batchSize .* got 0/,
  );
  await assert.rejects(open(tokens, { batchSize: 1, contextSize: 1.5 }), /contextSize .* 1.5/);
  await assert.rejects(open(new Uint16Array(0), two), /expected tokens but got none/);
  await assert.rejects(open(new Uint16Array(1), two), /at least 2 tokens .* got 1/);
  await assert.rejects(open([], two), /at least 2 tokens .* got 0/);
});

Deno.test("TokenLoader.restore() throws when the state belongs to other data", async () => {
  await using loader = await TokenLoader.open(countingShards([5, 6]), two);
  await using other = await TokenLoader.open(countingShards([6, 5]), two);
  assert.throws(() => loader.restore(other.state()), /same 2 shards with 11 tokens/);
  const state = loader.state();
  assert.throws(() => loader.restore({ ...state, position: -1 }), /got -1/);
  assert.throws(() => loader.restore({ ...state, position: 0.5 }), RangeError);
  assert.throws(() => loader.restore(undefined as never), RangeError);
});

Deno.test("TokenLoader shuffles shards and documents by seed and epoch, and every token comes once", async () => {
  // Documents (0, n, n, ...), each of its own token; shards of 1 to 5 of them.
  const shards: Uint16Array[] = [];
  for (let shard = 0, n = 1; shard < 5; shard++) {
    const tokens: number[] = [];
    for (let i = 0; i <= shard; i++, n++) tokens.push(0, ...Array(1 + n % 3).fill(n));
    shards.push(Uint16Array.from(tokens));
  }
  const sources = shards.map((tokens, i): TokenSource => ({
    name: `shard ${i}`,
    length: tokens.length,
    read: (start, count) => Promise.resolve(tokens.slice(start, start + count)),
    close: () => {},
  }));
  const total = shards.reduce((sum, { length }) => sum + length, 0);
  const open = (seed?: number) =>
    TokenLoader.open(sources, {
      batchSize: 1,
      contextSize: 3,
      shuffle: seed === undefined ? undefined : { seed, separator: 0 },
    });
  const walk = async (seed: number | undefined, count: number) => {
    await using loader = await open(seed);
    const tokens: number[] = [];
    while (tokens.length < count) tokens.push(...(await loader.next()).inputs);
    return tokens.slice(0, count);
  };
  const plain = await walk(undefined, total);
  const tokens = await walk(7, 2 * total);
  const epochs = [tokens.slice(0, total), tokens.slice(total)];
  for (const epoch of epochs) {
    assertSame(epoch.toSorted((a, b) => a - b), plain.toSorted((a, b) => a - b));
    // Documents stay whole: the runs between separators are those of the plain order.
    const documents = (ids: number[]) => ids.join(" ").split(/(?:^| )0 /).slice(1).sort();
    assertSame(documents(epoch), documents(plain));
    assert.notDeepEqual(epoch, plain);
  }
  assert.notDeepEqual(epochs[0], epochs[1]);
  assertSame(await walk(7, 2 * total), tokens);
  assert.notDeepEqual(await walk(8, 2 * total), tokens);

  // A loader that takes up a position in the second epoch gives what the first would have given.
  await using first = await open(7);
  for (let at = 0; at < total; at += 3) await first.next();
  await using second = await open(7);
  second.restore(JSON.parse(JSON.stringify(first.state())));
  assertSame(await second.next(), await first.next());
  await using other = await open(8);
  assert.throws(() => other.restore(first.state()), /shuffled by 8 but got one shuffled by 7/);
  await using ordered = await open();
  assert.throws(() => ordered.restore(first.state()), /in order but got one shuffled by 7/);
});
