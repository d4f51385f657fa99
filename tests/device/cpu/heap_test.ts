import assert from "node:assert/strict";
import { Heap } from "../../../src/device/cpu/heap.ts";
import { OutOfMemoryError } from "../../../src/device/errors.ts";

const memory = (maximum: number) => new WebAssembly.Memory({ initial: 1, maximum, shared: true });

Deno.test("Heap gives a loop the same addresses each time round", () => {
  const heap = new Heap(memory(64), 1000);
  const round = () => {
    const blocks = [100, 5000, 64, 70000].map((bytes) => ({ bytes, at: heap.allocate(bytes) }));
    blocks.forEach(({ at, bytes }) => heap.release(at, bytes));
    return blocks.map(({ at }) => at);
  };
  const first = round();
  const grown = heap.pooled;
  assert.deepEqual(round(), first);
  assert.equal(heap.pooled, grown);
  assert.deepEqual([heap.live, heap.blocks], [0, 0]);
  assert.ok(heap.peak >= 75164);
});

Deno.test("Heap never hands out the same byte twice, whatever the order", () => {
  const heap = new Heap(memory(2048), 64);
  const held: { at: number; bytes: number }[] = [];
  let seed = 1;
  const random = () => (seed = Math.imul(seed, 48271) & 0x7fffffff) / 2 ** 31;
  for (let i = 0; i < 5000; i++) {
    if (held.length && random() < 0.5) {
      const [{ at, bytes }] = held.splice(Math.floor(random() * held.length), 1);
      heap.release(at, bytes);
    } else {
      const bytes = Math.floor(random() * 10000);
      const at = heap.allocate(bytes);
      assert.equal(at % 64, 0);
      const clash = held.find((other) => at < other.at + other.bytes && other.at < at + bytes);
      assert.equal(clash, undefined);
      held.push({ at, bytes });
    }
  }
  held.forEach(({ at, bytes }) => heap.release(at, bytes));
  // All neighbours were merged: what was free in pieces can be had in one.
  const whole = heap.pooled;
  const size = heap.allocate(whole);
  assert.ok(size >= 64);
  assert.equal(heap.pooled, 0);
});

Deno.test("Heap says what was asked for when there is no room", () => {
  const heap = new Heap(memory(16), 0);
  heap.allocate(2 ** 19);
  assert.throws(() => heap.allocate(2 ** 20), (error: Error) => {
    assert.ok(error instanceof OutOfMemoryError);
    assert.match(
      error.message,
      /No room for a buffer, 1\.0 MiB: .*524,288 bytes are in use in 1 buffer, .*lower the batch size/,
    );
    return true;
  });
  heap.allocate(2 ** 18);
});
