/**
 * What a server writes for 1, 8 and 32 clients at once, over HTTP: tokens a second, and how long the first token takes.
 *
 *   deno run -A bench/serve.ts [--device cpu|webgpu] [--tokens 32] [--clients 1,8,32] [--small]
 *
 * The model is a LLaMA of 134M parameters with random weights, or with --small one of 8M.
 */
import { parseArgs } from "node:util";
import { createHandler, LLaMA, manualSeed, openDevice, type Tokenizer } from "../mod.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    device: { type: "string", default: "cpu" },
    tokens: { type: "string", default: "32" },
    clients: { type: "string", default: "1,8,32" },
    small: { type: "boolean", default: false },
  },
});
const length = Number(values.tokens);
const device = await openDevice({ kind: values.device as "cpu" | "webgpu" });
manualSeed(1);
const shape = values.small
  ? { vocabSize: 8000, hiddenSize: 256, numHiddenLayers: 4, numAttentionHeads: 4 }
  : { vocabSize: 32000, hiddenSize: 768, numHiddenLayers: 12, numAttentionHeads: 12 };
const model = new LLaMA({ ...shape, maxPositionEmbeddings: 1024 }, { device });

/** Ids as words, since what matters here is how many there are. */
const words: Tokenizer = {
  vocabSize: shape.vocabSize,
  specialTokens: new Map(),
  encode: (text) => Uint32Array.from(text.trim().split(" "), Number),
  encodeOrdinary: (text) => words.encode(text),
  encodeBatch: (texts) => Array.from(texts, (text) => words.encode(text)),
  decode: (ids) => Array.from(ids, (id) => ` ${id}`).join(""),
  decodeBytes: (ids) => new TextEncoder().encode(words.decode(ids)),
};

const handler = createHandler(model, words, { stopIds: [] });
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
const url = `http://127.0.0.1:${server.addr.port}/v1/completions`;
console.log(
  `LLaMA of ${
    (model.parameterCount() / 1e6).toFixed(0)
  }M parameters in f32 on ${device.description}, ` +
    `${length} tokens after a prompt of 32`,
);

/** One client's request: milliseconds to its first token. */
async function ask(seed: number, tokens: number): Promise<number> {
  const prompt = Array.from({ length: 32 }, (_, i) => (seed * 131 + i * 17) % shape.vocabSize);
  const started = performance.now();
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt, max_tokens: tokens, seed, stream: true }),
  });
  let first = 0, events = 0;
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    first ||= performance.now() - started;
    events += part.match(/"finish_reason":null/g)?.length ?? 0;
  }
  if (events < tokens) throw new Error(`expected ${tokens} tokens but got ${events}`);
  return first;
}

await ask(0, 4);
let single: number | undefined;
for (const clients of values.clients.split(",").map(Number)) {
  const started = performance.now();
  const firsts = await Promise.all(
    Array.from({ length: clients }, (_, i) => ask(clients + i, length)),
  );
  const rate = clients * length / (performance.now() - started) * 1000;
  single ??= rate;
  const median = firsts.sort((a, b) => a - b)[firsts.length >> 1]!;
  console.log(
    `${String(clients).padStart(3)} clients: ${rate.toFixed(1)} tokens/s, ` +
      `${(rate / single).toFixed(2)} times one client; first token after ${median.toFixed(0)} ms`,
  );
}
await handler.shutdown();
await server.shutdown();
device.close();
