import assert from "node:assert/strict";
import { KeyValueCache } from "../../src/nn/key_value_cache.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { onEachDevice } from "../support/devices.ts";

const sizes = { layers: 1, kvHeads: 1, headSize: 2, contextSize: 6, step: 4 };

await onEachDevice(
  "KeyValueCache.select() moves what is held and what was read",
  async (device) => {
    const before = device.memory().live;
    {
      using cache = new KeyValueCache({ device, batch: 3, ...sizes });
      using _scope = new Scope();
      const held = tensor([[1, 2], [3, 4], [5, 6]], { device });
      cache.hold("cross", tensor([[9], [9], [9]], { device }));
      cache.hold("cross", held); // takes the place of the first
      cache.extend(2);
      const keys = tensor([1, 2, 3].flatMap((row) => [row, row + 10, row + 20, row + 30]), {
        ...{ device, shape: [3, 2, 1, 2] },
      });
      const append = () => cache.layer(0).append(keys, keys);
      append();
      const rows = async () => {
        cache.extend(1);
        const next = tensor(new Float32Array(2 * cache.batch), {
          ...{ device, shape: [cache.batch, 1, 1, 2] },
        });
        const { keys } = cache.layer(0).append(next, next);
        const values = Array.from(await keys.data());
        const size = values.length / cache.batch;
        return Array.from({ length: cache.batch }, (_, b) => values[b * size]);
      };
      // The first rows alone, which stay where they are.
      cache.select([0, 1]);
      assert.equal(cache.batch, 2);
      assert.deepEqual(await rows(), [1, 2]);
      assert.deepEqual([...await cache.held("cross")!.data()], [1, 2, 3, 4]);
      cache.select([1, 0, 1]);
      assert.deepEqual(await rows(), [2, 1, 2]);
      assert.deepEqual([...await cache.held("cross")!.data()], [3, 4, 1, 2, 3, 4]);
      assert.deepEqual(cache.held("cross")!.shape, [3, 2]);
      assert.throws(() => cache.hold("other", tensor([[1]], { device })), TypeError);
      assert.throws(() => cache.select([-1]), RangeError);
      assert.throws(() => cache.select([0.5]), RangeError);
    }
    assert.equal(device.memory().live, before, "something was left behind");
  },
);

await onEachDevice(
  "KeyValueCache grows by steps up to the context, and takes padding at first only",
  (device) => {
    using cache = new KeyValueCache({ device, batch: 2, ...sizes });
    assert.equal(cache.capacity, 0);
    cache.extend(1);
    assert.equal(cache.capacity, 4);
    assert.throws(() => cache.extend(2, [1, 2]), /padding in the first tokens/);
    assert.equal(cache.length, 1);
    cache.extend(3, [3, 3]); // of equal length, which is no padding
    assert.equal(cache.capacity, 4);
    cache.extend(1);
    assert.equal(cache.capacity, 6);
    cache.extend(1);
    assert.throws(() => cache.extend(1), RangeError);
    assert.equal(cache.length, 6);
    cache.clear();
    assert.deepEqual([cache.length, cache.capacity], [0, 6]);
    assert.equal(cache.extend(2, [1, 2]).positions, undefined);
    assert.equal(cache.extend(1).position, 2);
  },
);

await onEachDevice("KeyValueCache: rows join from other caches, and leave", async (device) => {
  const before = device.memory().live;
  {
    const sizes = { device, layers: 2, kvHeads: 1, headSize: 3, contextSize: 9, step: 2 };
    /** A cache with one row of `length` positions whose keys are `value`, value + 1, and so on. */
    const single = (value: number, length: number) => {
      const cache = new KeyValueCache({ ...sizes, batch: 1 });
      cache.extend(length);
      using _scope = new Scope();
      const keys = tensor(Float32Array.from({ length: 3 * length }, (_, i) => value + i), {
        ...{ device, shape: [1, length, 1, 3] },
      });
      for (const layer of [0, 1]) cache.layer(layer).append(keys, keys);
      return cache;
    };
    using batch = new KeyValueCache({ ...sizes, batch: 0 });
    assert.equal(batch.bytes, 0);
    /** Adds a position of -1 to each row; the keys of the last layer, as far as each row has them. */
    const rows = async () => {
      using _scope = new Scope();
      const { positions } = batch.extend(1);
      const filled = [...batch.lengths];
      assert.deepEqual([...await positions!.data()], filled.map((length) => length - 1));
      const next = tensor(new Float32Array(3 * batch.batch).fill(-1), {
        ...{ device, shape: [batch.batch, 1, 1, 3] },
      });
      batch.layer(0).append(next, next);
      const { keys, values } = batch.layer(1).append(next, next);
      assert.deepEqual(await keys.data(), await values.data());
      assert.deepEqual(keys.shape, [batch.batch, batch.capacity, 1, 3]);
      const all = Array.from(await keys.data());
      return filled.map((length, row) =>
        all.slice(row * 3 * batch.capacity, (row * batch.capacity + length) * 3)
      );
    };
    const add = (value: number, length: number) => {
      using one = single(value, length);
      const expected = batch.bytesFor(batch.batch + 1, Math.max(batch.length, length));
      batch.add(one);
      assert.equal(batch.bytes, expected);
    };
    add(10, 1);
    add(20, 3);
    add(30, 2);
    const last = [-1, -1, -1];
    const row = (value: number, length: number) =>
      Array.from({ length: 3 * length }, (_, i) => value + i);
    assert.deepEqual(await rows(), [[...row(10, 1), ...last], [...row(20, 3), ...last], [
      ...row(30, 2),
      ...last,
    ]]);
    batch.remove(0);
    assert.deepEqual(batch.lengths, [3, 4]);
    add(40, 1);
    assert.deepEqual(await rows(), [[...row(30, 2), ...last, ...last], [
      ...row(20, 3),
      ...last,
      ...last,
    ], [...row(40, 1), ...last]]);
    batch.remove(2);
    batch.select([0, 1]); // gives back the room of the row that left
    assert.equal(batch.bytes, batch.bytesFor(2, batch.capacity));
    batch.remove(1);
    batch.remove(0);
    assert.deepEqual([batch.batch, batch.length], [0, 0]);
    assert.throws(() => batch.remove(0), RangeError);
    using other = new KeyValueCache({ ...sizes, batch: 1, headSize: 4 });
    assert.throws(() => batch.add(other), /expected a cache of 2 layers of 1 heads of 3 in f32/);

    // A copy of the beginning goes on by several tokens.
    using long = single(50, 5);
    using copy = long.prefix(3);
    assert.deepEqual([copy.batch, copy.length, long.length], [1, 3, 5]);
    copy.extend(2);
    using _scope = new Scope();
    const two = tensor(new Float32Array(6), { device, shape: [1, 2, 1, 3] });
    copy.layer(0).append(two, two);
    const keys = Array.from(await copy.layer(1).append(two, two).keys.data());
    assert.deepEqual(keys.slice(0, 15), [...row(50, 3), 0, 0, 0, 0, 0, 0]);
    assert.throws(() => long.prefix(6), RangeError);
  }
  assert.equal(device.memory().live, before, "something was left behind");
});
