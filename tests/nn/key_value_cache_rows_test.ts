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
