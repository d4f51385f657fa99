// What communicator_test.ts runs on every rank: each call, held to what its result has to be.
import assert from "node:assert/strict";
import { shareJson, shareOf } from "../../src/distributed/communicator.ts";
import { openCommunicator } from "../../src/distributed/mpi.ts";

await using communicator = await openCommunicator();
const { rank, size } = communicator;
assert.equal(size, Number(Deno.args[0]));
assert.equal(communicator.hosts.length, size);
const ranks = Array.from({ length: size }, (_, rank) => rank);
const total = ranks.reduce((sum, rank) => sum + rank + 1, 0);

for (const length of [1, 7, 1000, 2_200_000]) {
  const at = (i: number) => i % 32 + 1;
  for (const Values of [Float32Array, Float64Array, Float16Array]) {
    const values = new Values(length);
    for (let i = 0; i < length; i++) values[i] = at(i) * (rank + 1);
    await communicator.allReduce(values);
    for (let i = 0; i < length; i++) {
      if (values[i] !== at(i) * total) assert.fail(`${Values.name}: ${values[i]} at ${i}`);
    }
  }
}

// In place, a part of a shared memory, beside what belongs to others.
const memory = new Float32Array(new SharedArrayBuffer(4 * 10)).fill(1);
await communicator.allReduce(memory.subarray(2, 8));
assert.deepEqual([...memory], [1, 1, ...Array(6).fill(size), 1, 1]);

// As f16, every rank rounds what it sends and gets the same sum.
const third = Float32Array.from({ length: 5 }, () => (rank + 1) / 3);
await communicator.allReduce(third, { wire: "f16" });
const rounded = Math.f16round(ranks.reduce((sum, rank) => sum + Math.f16round((rank + 1) / 3), 0));
assert.deepEqual([...third], Array(5).fill(rounded));

// Calls are done in the order in which they were made, whatever is waited for first.
const [a, b] = [Float64Array.of(rank), Float64Array.of(10)];
const first = communicator.allReduce(a), second = communicator.broadcast(b, size - 1);
await second;
assert.equal(a[0], total - size);
await first;

const bytes = Uint8Array.of(rank, 7);
await communicator.broadcast(bytes, size - 1);
assert.deepEqual([...bytes], [size - 1, 7]);
const all = await communicator.gather(Float64Array.of(rank, -rank));
assert.deepEqual([...all], ranks.flatMap((rank) => [rank, -rank]));
const { bytes: before } = communicator;
const words = await communicator.gather(Int32Array.of(rank, 1, 2));
assert.ok(words instanceof Int32Array && !(words.buffer instanceof SharedArrayBuffer));
assert.deepEqual([...words], ranks.flatMap((rank) => [rank, 1, 2]));
assert.equal(communicator.bytes - before, 12);
await communicator.allReduce(new Float32Array(10), { wire: "f16" });
assert.equal(communicator.bytes - before, 12 + 20);
assert.deepEqual(await shareJson(communicator, rank === 0 ? { x: ["é"] } : { x: [] }), {
  x: ["é"],
});
assert.equal(await shareJson(communicator, rank === 0 ? undefined : 1), undefined);

for (const count of [0, 1, 5, 64]) {
  const parts = ranks.map((rank) => shareOf(count, { rank, size }));
  assert.equal(parts[0].start, 0);
  parts.forEach(({ end }, i) => assert.equal(end, parts[i + 1]?.start ?? count));
}

const begun = performance.now();
if (rank === 0) await new Promise((resolve) => setTimeout(resolve, 200));
await communicator.barrier();
assert.ok(performance.now() - begun > 150, "a rank did not wait for the others");
assert.ok(communicator.busy > 0);
console.log(`rank ${rank} of ${size} is done, ${communicator.description}`);
