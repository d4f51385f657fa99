import assert from "node:assert/strict";
import { FairQueue } from "../../src/serve/fair_queue.ts";

Deno.test("FairQueue: clients take turns, and what is put back comes first", () => {
  const queue = new FairQueue<{ client: string; n: number }>();
  const item = (client: string, n: number) => ({ client, n });
  for (const n of [1, 2, 3]) queue.push(item("a", n));
  const removed = item("b", 1);
  queue.push(removed);
  queue.push(item("b", 2));
  queue.push(item("c", 1));
  queue.remove(removed);
  queue.remove(removed);
  assert.equal(queue.size, 5);
  const next = () => {
    const { client, n } = queue.shift()!;
    return `${client}${n}`;
  };
  assert.equal(next(), "a1");
  assert.deepEqual(queue.peek(), item("b", 2));
  const back = item("a", 0);
  queue.putBack(back);
  assert.equal(queue.peek(), back);
  assert.deepEqual([next(), next(), next(), next(), next()], ["a0", "b2", "c1", "a2", "a3"]);
  assert.equal(queue.size, 0);
  assert.equal(queue.shift(), undefined);
  queue.push(item("d", 1));
  queue.putBack(item("e", 1));
  assert.deepEqual(queue.clear().map(({ client }) => client), ["e", "d"]);
  assert.equal(queue.size, 0);
  assert.equal(queue.peek(), undefined);
});
