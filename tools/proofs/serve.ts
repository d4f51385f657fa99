/**
 * Keeps a server under load for an hour, or --seconds: clients that ask, stream, read slowly, leave, send nonsense and come
 * while the queue is full. Its memory ends where it was, and one request with a seed gets the same answer all the while.
 *
 *   deno task proof:serve [--seconds 3600] [--clients 60]
 */
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { CpuDevice, createHandler, formatBytes, GPT2, manualSeed, RandomState } from "../../mod.ts";
import { asciiTokenizer } from "./ascii_tokenizer.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    seconds: { type: "string", default: "3600" },
    clients: { type: "string", default: "60" },
  },
});
const seconds = Number(values.seconds), clients = Number(values.clients);
/** What JavaScript's heap may hold more at the end than after the first tenth. */
const MAX_GROWTH = 8 * 2 ** 20;

manualSeed(1);
const device = CpuDevice.open();
const model = new GPT2({
  vocabSize: 129,
  maxPositionEmbeddings: 512,
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
}, { device, random: new RandomState(1) });
const handler = createHandler(model, asciiTokenizer, {
  ...{ maxBatch: 16, maxQueue: 24, cacheBytes: 16 * 2 ** 20, timeout: 5000 },
});
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
const url = `http://127.0.0.1:${server.addr.port}`;

const statuses = new Map<string, number>();
const count = (what: string) => statuses.set(what, (statuses.get(what) ?? 0) + 1);

async function post(body: BodyInit, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    ...{ method: "POST", body, signal: signal ?? null },
    headers: { "content-type": "application/json" },
  });
  count(String(response.status));
  return response;
}

const pick = (most: number) => Math.floor(Math.random() * most);
const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Bytes that are in use, once what is garbage is collected, and bytes of the process. */
function memory(): { heap: number; rss: number } {
  (globalThis as { gc?: () => void }).gc!();
  const { heapUsed, external, rss } = Deno.memoryUsage();
  return { heap: heapUsed + external, rss };
}

/** A conversation of some turns, each in another way. */
async function converse(): Promise<void> {
  const messages = [{ role: "user", content: "Tell me ".padEnd(8 + pick(200), "of whales ") }];
  for (let turn = 0; turn < 1 + pick(4); turn++) {
    const ask = { messages, max_tokens: 1 + pick(60), n: 1 + pick(2), temperature: pick(3) / 2 };
    const way = pick(8);
    if (way === 0) return void await (await post("{".repeat(1 + pick(1000)))).text();
    if (way === 1) return void await (await post(JSON.stringify({ ...ask, n: "x" }))).text();
    const leave = new AbortController();
    if (way === 2) setTimeout(() => leave.abort(), pick(200));
    const response = await post(JSON.stringify({ ...ask, stream: way < 6 }), leave.signal);
    let text = "";
    for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (way === 3) await sleep(pick(50));
      if (way === 4 && text.length > 1000) leave.abort();
    }
    messages.push({ role: "assistant", content: text.slice(0, pick(60)) });
    messages.push({ role: "user", content: "And then?" });
    if (messages.reduce((sum, { content }) => sum + content.length + 12, 0) > 380) return;
  }
}

async function client(until: number): Promise<void> {
  while (performance.now() < until) {
    try {
      await converse();
    } catch (error) {
      const { name } = error as Error;
      if (name !== "AbortError" && !(error instanceof TypeError)) throw error;
      count(name);
    }
    await sleep(pick(100));
  }
}

/** What a request gets that always asks for the same. */
async function fixed(): Promise<string> {
  const ask = {
    messages: [{ role: "user", content: "Call me Ishmael." }],
    max_tokens: 40,
    seed: 7,
  };
  while (true) {
    const response = await post(JSON.stringify(ask));
    const answer = await response.json();
    if (response.status === 200) return answer.choices[0].message.content;
    await sleep(100);
  }
}

const expected = await fixed();
const start = performance.now();
const end = start + 1000 * seconds;
const running = Promise.all(Array.from({ length: clients }, () => client(end)));
let before = 0, checks = 0;
for (let report = 1; performance.now() < end; report++) {
  await sleep(Math.min(10_000, end - performance.now()));
  assert.equal(await fixed(), expected, "a neighbour has changed an answer");
  checks++;
  const { heap, rss } = memory();
  if (!before || performance.now() - start < 100 * seconds) before = heap;
  if (report % 6 && performance.now() < end) continue;
  const { running, waiting, generatedTokens, cachedTokens, preemptions } = handler.engine.stats;
  console.log(
    `${Math.round((performance.now() - start) / 1000)} s: process ${formatBytes(rss)}, ` +
      `heap ${formatBytes(heap)}, tensors ${
        formatBytes(device.memory().live)
      }, ${running} run, ${waiting} wait, ${generatedTokens} tokens, ` +
      `${cachedTokens} known from earlier turns, ${preemptions} preemptions; ${
        [...statuses].map(([what, n]) => `${n} x ${what}`).join(", ")
      }`,
  );
}
await running;
await handler.shutdown();
await server.shutdown();
const { heap: after } = memory();
const { live } = device.memory();
model.dispose();
const left = device.memory().live;
console.log(
  `${checks} times the same answer; heap ${formatBytes(before)} after a tenth, ${
    formatBytes(after)
  } at the end; ` +
    `tensors ${formatBytes(live)} with the model, ${formatBytes(left)} without`,
);
assert.equal(left, 0, "tensors were left behind");
assert.ok(after - before < MAX_GROWTH, "the heap has grown");
device.close();
