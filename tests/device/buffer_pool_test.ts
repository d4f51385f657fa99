import assert from "node:assert/strict";
import { OutOfMemoryError } from "../../src/device/errors.ts";
import { BufferPool, type PoolOptions, sizeClass } from "../../src/device/webgpu/buffer_pool.ts";

const MIB = 2 ** 20;

/** A pool over buffers that only count. */
function countingPool(options: Partial<PoolOptions> = {}) {
  const log = { created: [] as number[], destroyed: [] as number[], flushes: 0 };
  const pool = new BufferPool({
    create: (bytes) => {
      log.created.push(bytes);
      return { destroy: () => log.destroyed.push(bytes) } as unknown as GPUBuffer;
    },
    beforeDestroy: () => void log.flushes++,
    onDestroy: () => {},
    maxBufferBytes: 1024 * MIB,
    memoryLimit: Infinity,
    ...options,
  });
  return { pool, log };
}

Deno.test("sizeClass() fits and wastes at most 12.5 % above 128 bytes", () => {
  for (let bytes = 0; bytes < 2 ** 31; bytes = Math.ceil(bytes * 1.01) + 1) {
    const size = sizeClass(bytes);
    assert.ok(size >= bytes && size >= 16 && size % 16 === 0, `${bytes} -> ${size}`);
    assert.ok(size - bytes <= Math.max(16, 0.125 * bytes), `${bytes} -> ${size}`);
    assert.equal(sizeClass(size), size);
  }
});

Deno.test("BufferPool gives the same buffers in the same order each time round", () => {
  const { pool, log } = countingPool();
  const round = (): number[] => {
    const a = pool.take(1000);
    const b = pool.take(1000);
    pool.give(a);
    const c = pool.take(1004);
    const d = pool.take(5000);
    const ids = [a, b, c, d].map(({ id }) => id);
    for (const allocation of [c, d, b]) pool.give(allocation);
    return ids;
  };
  const first = round();
  assert.equal(first[2], first[0]);
  const second = round();
  assert.deepEqual(round(), second);
  assert.equal(log.created.length, 3);
  assert.equal(log.destroyed.length, 0);
});

Deno.test("BufferPool.report() counts what is in use, the peak and what is pooled", () => {
  const { pool } = countingPool();
  const a = pool.take(1024);
  const b = pool.take(2048);
  assert.deepEqual(pool.report(), { live: 3072, peak: 3072, pooled: 0, buffers: 2 });
  pool.give(a);
  assert.deepEqual(pool.report(), { live: 2048, peak: 3072, pooled: 1024, buffers: 1 });
  pool.resetPeak();
  assert.equal(pool.report().peak, 2048);
  pool.give(b);
  pool.clear();
  assert.deepEqual(pool.report(), { live: 0, peak: 2048, pooled: 0, buffers: 0 });
});

Deno.test("BufferPool drops free buffers before it goes over the memory limit", () => {
  const { pool, log } = countingPool({ memoryLimit: 10 * MIB });
  pool.give(pool.take(6 * MIB));
  const a = pool.take(8 * MIB);
  assert.deepEqual(log.destroyed, [6 * MIB]);
  assert.equal(log.flushes, 1);
  assert.throws(
    () => pool.take(4 * MIB),
    (error) =>
      error instanceof OutOfMemoryError &&
      /No room for a buffer, 4.0 MiB: .*limit of 10.0 MiB; 8.0 MiB are in use in 1 buffer, /
        .test(error.message) &&
      /lower the batch size/.test(error.message),
  );
  pool.give(a);
});

Deno.test("BufferPool drops free buffers and tries again when there is no room", () => {
  let room = 10 * MIB;
  const { pool } = countingPool({
    create: (bytes) => {
      if (bytes > room) throw new Error("Not enough memory left");
      room -= bytes;
      return { destroy: () => room += bytes } as unknown as GPUBuffer;
    },
  });
  pool.give(pool.take(6 * MIB));
  const a = pool.take(8 * MIB);
  assert.throws(() => pool.take(4 * MIB), /4.0 MiB: Not enough memory left; 8.0 MiB are in use/);
  pool.give(a);
  assert.equal(pool.take(8 * MIB), a);
});

Deno.test("BufferPool does not keep a buffer that turned out to have no memory", () => {
  let report = () => {};
  const { pool, log } = countingPool({
    create: (bytes, fail) => {
      report = fail;
      return { destroy: () => log.destroyed.push(bytes) } as unknown as GPUBuffer;
    },
  });
  const a = pool.take(MIB);
  report();
  pool.give(a);
  assert.deepEqual(log.destroyed, [MIB]);
  assert.deepEqual(pool.report(), { live: 0, peak: MIB, pooled: 0, buffers: 0 });
  assert.notEqual(pool.take(MIB), a);
});

Deno.test("BufferPool refuses a buffer longer than the device allows", () => {
  const { pool } = countingPool({ maxBufferBytes: MIB });
  assert.throws(() => pool.take(MIB + 1), /one buffer may have 1.0 MiB on this device/);
  assert.equal(pool.take(MIB).bytes, MIB);
});

Deno.test("BufferPool does not pile up sizes that are asked for no more", () => {
  const { pool, log } = countingPool();
  for (let mib = 1; mib <= 100; mib++) pool.give(pool.take(mib * MIB));
  const { live, pooled } = pool.report();
  assert.equal(live, 0);
  assert.ok(pooled <= 2 * 104 * MIB + 64 * MIB, `${pooled / MIB} MiB`);
  assert.equal(log.destroyed[0], MIB, "the longest unused goes first");
  assert.equal(pooled, log.created.reduce((a, b) => a + b) - log.destroyed.reduce((a, b) => a + b));
});
