import assert from "node:assert/strict";
import { yieldToEventLoop } from "../../src/device/event_loop.ts";

Deno.test("yieldToEventLoop() lets a server answer while the thread computes", async () => {
  let served = 0;
  const server = Deno.serve({ port: 0, onListen() {} }, () => {
    served++;
    return new Response("hello");
  });
  let reply: string | undefined;
  const { port } = server.addr as Deno.NetAddr;
  const request = fetch(`http://localhost:${port}`)
    .then((response) => response.text())
    .then((text) => reply = text);
  let turns = 0;
  for (; reply === undefined && turns < 200; turns++) {
    const end = performance.now() + 55;
    while (performance.now() < end);
    await yieldToEventLoop();
  }
  await request;
  await server.shutdown();
  assert.equal(served, 1);
  // Accepting, reading and writing may each take a turn; a turn without a look at the sockets would make it hundreds.
  assert(turns <= 20, `expected an answer within 20 turns but it took ${turns}`);
});

Deno.test("yieldToEventLoop() lets a signal in when it is awaited only after the next step", async () => {
  let seen = 0;
  const onSignal = () => seen++;
  Deno.addSignalListener("SIGUSR1", onSignal);
  try {
    for (let round = 0; round < 5; round++) {
      Deno.kill(Deno.pid, "SIGUSR1");
      const yielded = yieldToEventLoop(0);
      const end = performance.now() + 60;
      while (performance.now() < end);
      await yielded;
      assert.equal(seen, round + 1);
    }
  } finally {
    Deno.removeSignalListener("SIGUSR1", onSignal);
  }
});
