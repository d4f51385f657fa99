// The HTTP interface, by OpenAI's own client where that can ask for it.
import assert from "node:assert/strict";
import OpenAI from "npm:openai@7.59.0";
import type { NextTokenModel } from "../../src/decode/next_token_model.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { jinjaChatTemplate } from "../../src/pretrained/chat_template.ts";
import { createHandler, type Handler, type HandlerOptions } from "../../src/serve/handler.ts";
import { StreamDecoder, type Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { sharpModel } from "../decode/sharp_model.ts";
import { asciiTokenizer } from "../../tools/proofs/ascii_tokenizer.ts";

const device = CpuDevice.open({ threads: 1 });
const model = sharpModel(device, { vocabSize: 130, maxPositionEmbeddings: 400 });
addEventListener("unload", () => device.close());

/** A server on a free port, and a client for it that does not try again. */
interface Running extends AsyncDisposable {
  readonly url: string;
  readonly client: OpenAI;
  readonly handler: Handler;
}

function serve(options: HandlerOptions = {}): Running {
  const handler = createHandler(model, asciiTokenizer, options);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
  const url = `http://127.0.0.1:${server.addr.port}`;
  const client = new OpenAI({
    ...{ apiKey: options.apiKey ?? "none", baseURL: `${url}/v1`, maxRetries: 0 },
  });
  return {
    ...{ url, client, handler },
    async [Symbol.asyncDispose]() {
      await handler.shutdown();
      await server.shutdown();
    },
  };
}

/** A test; the client keeps connections open. */
function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `handler: ${name}`, sanitizeOps: false, sanitizeResources: false, fn });
}

async function post(url: string, path: string, body: BodyInit, headers = {}): Promise<Response> {
  return await fetch(url + path, {
    ...{ method: "POST", body, headers: { "content-type": "application/json", ...headers } },
  });
}

/** Waits until a condition holds. */
async function until(condition: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !condition(); waited += 10) {
    assert.ok(waited < 10_000, `in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const name = "dinograd";
const hello = [{ role: "user" as const, content: "Hello" }];

test("models, health and metrics", async () => {
  // An option that is undefined has its default.
  await using server = serve({ modelName: undefined } as unknown as HandlerOptions);
  const { data } = await server.client.models.list();
  assert.deepEqual(data.map(({ id }) => id), [name]);
  assert.equal((await server.client.models.retrieve(name)).id, name);
  await server.client.completions.create({ model: name, prompt: "ab", max_tokens: 3 });
  assert.deepEqual(await (await fetch(`${server.url}/health`)).json(), {
    ...{ status: "ok", running: 0, waiting: 0 },
  });
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  for (
    const line of [
      'dinograd_http_requests_total{path="/v1/completions",status="200"} 1',
      "dinograd_generated_tokens_total 3",
      "dinograd_prompt_tokens_total 2",
      "dinograd_request_duration_seconds_count 1",
      'dinograd_time_to_first_token_seconds_bucket{le="+Inf"} 1',
    ]
  ) assert.ok(metrics.split("\n").includes(line), `${line} in\n${metrics}`);
  for (const line of metrics.trim().split("\n")) {
    assert.match(line, /^(# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? [\d.e+-]+)$/);
  }
});

test("completions: seed, n, several prompts, ids, usage", async () => {
  await using server = serve();
  const ask = { model: name, prompt: "Once upon", max_tokens: 20, seed: 5 };
  const first = await server.client.completions.create(ask);
  assert.match(first.id, /^cmpl-/);
  assert.equal(first.object, "text_completion");
  assert.deepEqual(
    [first.usage!.prompt_tokens, first.usage!.completion_tokens, first.usage!.total_tokens],
    [9, 20, 29],
  );
  const [{ text, finish_reason }] = first.choices;
  assert.equal(finish_reason, "length");
  assert.equal(text.length, 20);
  const others = await server.client.completions.create({ ...ask, n: 3 });
  assert.equal(others.choices[0]!.text, text);
  assert.equal(new Set(others.choices.map((choice) => choice.text)).size, 3);
  // The second choice is what the next seed gives.
  const next = await server.client.completions.create({ ...ask, seed: 6 });
  assert.equal(others.choices[1]!.text, next.choices[0]!.text);
  const several = await server.client.completions.create({ ...ask, prompt: ["Once upon", "x"] });
  assert.equal(several.choices.length, 2);
  assert.equal(several.choices[0]!.text, text);
  const ids = [...asciiTokenizer.encode("Once upon")];
  const byIds = await server.client.completions.create({ ...ask, prompt: ids });
  assert.equal(byIds.choices[0]!.text, text);
  const short = await server.client.completions.create({ model: name, prompt: "a" });
  assert.ok(short.usage!.completion_tokens <= 16);
  // The default length is cut to what the prompt leaves of the context.
  const full = await server.client.completions.create({ model: name, prompt: "a".repeat(398) });
  assert.ok(full.usage!.completion_tokens <= 3);
});

test("completions: streaming gives the same in pieces, stop strings end it", async () => {
  await using server = serve();
  const ask = { model: name, prompt: "Once upon", max_tokens: 60, seed: 5 };
  const { choices: [{ text }] } = await server.client.completions.create(ask);
  const stream = await server.client.completions.create({
    ...{ ...ask, stream: true as const, stream_options: { include_usage: true } },
  });
  let streamed = "", reason: string | null = null, tokens = 0, events = 0;
  for await (const { choices: [choice], usage } of stream) {
    streamed += choice?.text ?? "";
    reason = choice?.finish_reason ?? reason;
    tokens = usage?.completion_tokens ?? tokens;
    events++;
  }
  assert.equal(streamed, text);
  assert.equal(reason, "length");
  assert.equal(tokens, 60);
  assert.ok(events > 50);
  const stop = text.slice(20, 23);
  const cut = await server.client.completions.create({ ...ask, stop: ["\u0001\u0002", stop] });
  assert.equal(cut.choices[0]!.text, text.slice(0, text.indexOf(stop)));
  assert.equal(cut.choices[0]!.finish_reason, "stop");
  let cutStream = "";
  for await (
    const { choices } of await server.client.completions.create({ ...ask, stop, stream: true })
  ) {
    cutStream += choices[0]!.text;
  }
  assert.equal(cutStream, text.slice(0, text.indexOf(stop)));
  await until(() => server.handler.engine.stats.running === 0, "what was stopped is gone");
});

test("completions and chat: logprobs", async () => {
  await using server = serve();
  const { choices: [{ text, logprobs }] } = await server.client.completions.create({
    ...{ model: name, prompt: "Once", max_tokens: 8, temperature: 0, logprobs: 3 },
  });
  assert.deepEqual(logprobs!.tokens, [...text]);
  assert.deepEqual(logprobs!.text_offset, [0, 1, 2, 3, 4, 5, 6, 7]);
  logprobs!.token_logprobs!.forEach((logprob, i) => {
    const top = Object.values(logprobs!.top_logprobs![i]!);
    assert.equal(top.length, 3);
    assert.equal(Math.max(...top), logprob);
  });
  const { choices: [chat] } = await server.client.chat.completions.create({
    ...{ model: name, messages: hello, max_tokens: 5, logprobs: true, top_logprobs: 2, seed: 1 },
  });
  const told = chat!.logprobs!.content!;
  assert.equal(told.map(({ token }) => token).join(""), chat!.message.content);
  for (const { logprob, top_logprobs, bytes, token } of told) {
    assert.ok(logprob <= 0 && top_logprobs.length === 2);
    assert.ok(top_logprobs[0]!.logprob >= top_logprobs[1]!.logprob);
    assert.deepEqual(bytes, [...new TextEncoder().encode(token)]);
  }
});

test("logprobs show a token with its leading space, and one of bytes that are no character", async () => {
  // Like SentencePiece: words with a space in front, which `decode` drops at the start, and single bytes.
  const dinosaur = new TextEncoder().encode("🦕");
  const bytesOf = (id: number) => id < 64 ? [32, 65 + id % 32] : [dinosaur[id % 4]!];
  const tokenizer: Tokenizer = {
    ...asciiTokenizer,
    decode: (ids) => new TextDecoder().decode(tokenizer.decodeBytes(ids)).replace(/^ /, ""),
    decodeBytes: (ids) => Uint8Array.from(Array.from(ids).flatMap(bytesOf)),
  };
  const handler = createHandler(model, tokenizer, { stopIds: [] });
  const ask = async (path: string, body: object) => {
    const request = { ...{ method: "POST", headers: { "content-type": "application/json" } } };
    const url = `http://localhost/v1/${path}`;
    const json = JSON.stringify({ max_tokens: 60, seed: 1, ...body });
    const response = await handler(new Request(url, { ...request, body: json }));
    return (await response.json()).choices[0];
  };
  const { text, logprobs } = await ask("completions", { prompt: "a", logprobs: 5 });
  const decoder = new StreamDecoder(tokenizer);
  let before = 0;
  const { content } = (await ask("chat/completions", { messages: hello, logprobs: true })).logprobs;
  for (const { token, bytes } of content) {
    if (bytes[0] === 32) assert.equal(token, String.fromCharCode(...bytes));
    else assert.equal(token, `\\x${bytes[0].toString(16)}`);
  }
  const byText = new Map(Array.from({ length: 129 }, (_, id) => [bytesOf(id).join(), id]));
  logprobs.tokens.forEach((token: string, i: number) => {
    const byte = /^\\x(..)$/.exec(token)?.[1];
    const bytes = byte ? [parseInt(byte, 16)] : [...token].map((one) => one.charCodeAt(0));
    assert.equal(logprobs.text_offset[i], before);
    before += [...decoder.push(byText.get(bytes.join())!)].length;
  });
  assert.equal([...text].length, before + [...decoder.flush()].length);
  assert.ok(text.includes("\uFFFD") && text.includes(" "));
  await handler.shutdown();
});

test("chat: messages, roles, parts, streaming, and the template", async () => {
  const chatTemplate = await jinjaChatTemplate(
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}" +
      "{{ bos_token }}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
    { bos_token: "<|endoftext|>" },
  );
  await using server = serve({ chatTemplate });
  const ask = {
    model: name,
    messages: [
      { role: "developer" as const, content: "Be brief." },
      { role: "user" as const, content: [{ type: "text" as const, text: "Hi" }] },
    ],
    max_completion_tokens: 12,
    seed: 3,
  };
  const { choices: [choice], usage, object } = await server.client.chat.completions.create(ask);
  assert.equal(object, "chat.completion");
  assert.equal(choice!.message.role, "assistant");
  assert.equal(usage!.prompt_tokens, 2 + "system: Be brief.\nuser: Hi\nassistant:".length);
  const stream = server.client.chat.completions.stream({ ...ask, n: 2 });
  const whole = await stream.finalChatCompletion();
  assert.equal(whole.choices[0]!.message.content, choice!.message.content);
  assert.notEqual(whole.choices[1]!.message.content, choice!.message.content);
  await assert.rejects(
    server.client.chat.completions.create({
      ...ask,
      messages: [{ role: "tool", content: "x", tool_call_id: "1" }],
    }),
    /400 messages: the model's chat template says: .*no tools/,
  );
  // The next turn begins as this one did.
  await using plain = serve({ chunkSize: 16 });
  const before = { role: "user" as const, content: "How do you do, this fine day?" };
  const chat = (messages: OpenAI.ChatCompletionMessageParam[]) =>
    plain.client.chat.completions.create({ model: name, messages, max_tokens: 20, seed: 1 });
  const turn = await chat([before]);
  assert.equal(turn.usage!.prompt_tokens_details!.cached_tokens, 0);
  const said = turn.choices[0]!.message;
  const second = await chat([before, { role: "assistant", content: said.content }, ...hello]);
  assert.ok(second.usage!.prompt_tokens_details!.cached_tokens! >= 32);
});

test("embeddings have the length 1, and those of equal texts are equal", async () => {
  await using server = serve();
  const input = ["one", "two", "one"];
  const floats = await server.client.embeddings.create({
    ...{ model: name, input, encoding_format: "float" as const },
  });
  const vectors = floats.data.map(({ embedding }) => embedding);
  assert.deepEqual(vectors.map(({ length }) => length), [16, 16, 16]);
  assert.deepEqual(vectors[0], vectors[2]);
  assert.notDeepEqual(vectors[0], vectors[1]);
  for (const vector of vectors) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-6);
  // The client asks for base64 by itself.
  const coded = await server.client.embeddings.create({ model: name, input });
  assert.deepEqual(coded.data[1]!.embedding, vectors[1]);
  assert.equal(coded.usage.prompt_tokens, 9);
  // Tokens that the tokenizer puts around a text are part of it.
  const around = createHandler(
    model,
    Object.assign({ prefix: [1], suffix: [128] }, asciiTokenizer),
  );
  const [whole, byIds] = await Promise.all(["b", [1, 98, 128]].map(async (input) => {
    const init = { method: "POST", headers: { "content-type": "application/json" } };
    const body = JSON.stringify({ input });
    const request = new Request("http://localhost/v1/embeddings", { ...init, body });
    return await (await around(request)).json();
  }));
  assert.deepEqual(whole, byIds);
  await around.shutdown();
  await using last = serve({ pooling: "last" });
  const other = await last.client.embeddings.create({ model: name, input: "one" });
  assert.notDeepEqual(other.data[0]!.embedding, vectors[0]);
  await assert.rejects(server.client.embeddings.create({ model: name, input: "" }), /400 input/);
});

test("what is wrong is told by name, and costs nothing", async () => {
  await using server = serve({ apiKey: "secret", maxBodyBytes: 2000, maxTokens: 50 });
  const key = { authorization: "Bearer secret" };
  const chat = "/v1/chat/completions", complete = "/v1/completions";
  const cases: [path: string, body: unknown, status: number, error: Record<string, unknown>][] = [
    [chat, { messages: [] }, 400, { param: "messages" }],
    [chat, {}, 400, { code: "missing_required_parameter" }],
    [chat, { messages: [{ role: "cat", content: "" }] }, 400, { param: "messages[0]" }],
    [chat, { messages: [null] }, 400, { param: "messages[0]" }],
    [chat, { messages: [{ role: "user", content: [{ type: "image_url" }] }] }, 400, {
      param: "messages[0]",
    }],
    [chat, { messages: hello, model: "gpt-4" }, 404, { code: "model_not_found" }],
    [chat, { messages: hello, temperature: 3 }, 400, { param: "temperature" }],
    [chat, { messages: hello, temperature: "hot" }, 400, { param: "temperature" }],
    [chat, { messages: hello, n: 0 }, 400, { param: "n" }],
    [chat, { messages: hello, max_tokens: 51 }, 400, { param: "max_tokens" }],
    [chat, { messages: hello, max_tokens: 1.5 }, 400, { param: "max_tokens" }],
    [chat, { messages: hello, top_logprobs: 2 }, 400, { param: "top_logprobs" }],
    [chat, { messages: hello, stream: "yes" }, 400, { param: "stream" }],
    [chat, { messages: hello, stream_options: {} }, 400, { param: "stream_options" }],
    [chat, { messages: hello, stop: ["a", ""] }, 400, { param: "stop" }],
    [chat, { messages: hello, tools: [{}] }, 400, { code: "unsupported_value", param: "tools" }],
    [chat, { messages: hello, presence_penalty: 1 }, 400, { param: "presence_penalty" }],
    [chat, { messages: hello, colour: "red" }, 400, { code: "unknown_parameter" }],
    [complete, { prompt: "" }, 400, { code: "invalid_value" }],
    [complete, { prompt: [1000] }, 400, { code: "invalid_value" }],
    [complete, { prompt: ["a", 5] }, 400, { param: "prompt" }],
    [complete, { prompt: "x".repeat(500) }, 400, { code: "context_length_exceeded" }],
    [complete, { prompt: "a", logprobs: 9 }, 400, { param: "logprobs" }],
    [complete, { prompt: "a", echo: true }, 400, { param: "echo" }],
    [complete, [], 400, {}],
    [complete, null, 400, {}],
    [complete, { prompt: "a", user: "x".repeat(3000) }, 413, { code: "request_too_large" }],
    ["/v1/embeddings", { input: "a", dimensions: 4 }, 400, {
      param: "dimensions",
      message: "dimensions: this server does not support this field",
    }],
    ["/v1/nothing", {}, 404, {}],
    ["/v1/models", {}, 405, {}],
  ];
  for (const [path, body, status, expected] of cases) {
    const response = await post(server.url, path, JSON.stringify(body), key);
    const text = await response.text();
    assert.equal(response.status, status, `${path} ${JSON.stringify(body)}: ${text}`);
    const { error } = JSON.parse(text);
    assert.deepEqual(Object.keys(error), ["message", "type", "param", "code"]);
    assert.equal(error.type, "invalid_request_error");
    assert.equal({ ...error, ...expected }.code, error.code, text);
    assert.equal({ ...error, ...expected }.param, error.param, text);
    assert.equal({ ...error, ...expected }.message, error.message);
  }
  const ask = JSON.stringify({ prompt: "a" });
  for (const headers of [{}, { authorization: "Bearer" }, { authorization: "Bearer wrong" }]) {
    const response = await post(server.url, complete, ask, headers);
    assert.equal((await response.json()).error.code, "invalid_api_key");
    assert.equal(response.status, 401);
  }
  assert.equal((await fetch(`${server.url}/health`)).status, 200);
  for (
    const [body, headers, status] of [
      ["{", key, 400],
      [new Uint8Array([0xff, 0xfe]), key, 400],
      [ask, { ...key, "content-type": "text/plain" }, 415],
    ] as const
  ) {
    const response = await post(server.url, complete, body, headers);
    assert.equal(response.status, status);
    await response.json();
  }
  // Without a length in front.
  const parts = Array.from({ length: 5 }, () => new Uint8Array(1000));
  const unannounced = await post(server.url, complete, ReadableStream.from(parts), key);
  assert.equal(unannounced.status, 413);
  await unannounced.json();
  await assert.rejects(
    server.client.completions.create({ model: name, prompt: "a", temperature: 5 }),
    (error: InstanceType<typeof OpenAI.BadRequestError>) =>
      error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
  assert.equal(server.handler.engine.stats.generatedTokens, 0);
});

test("a full queue is answered by 429, and the client tries again", async () => {
  await using server = serve({ maxBatch: 1, maxQueue: 1, stopIds: [] });
  const ask = { model: name, prompt: "a", max_tokens: 300 };
  const long = [1, 2].map(() => server.client.completions.create(ask));
  await until(() => {
    const { running, waiting } = server.handler.engine.stats;
    return running + waiting === 2;
  }, "two requests are there");
  await assert.rejects(
    server.client.completions.create(ask),
    (error: InstanceType<typeof OpenAI.RateLimitError>) =>
      error instanceof OpenAI.RateLimitError && error.code === "queue_full",
  );
  const patient = server.client.withOptions({ maxRetries: 5 });
  const { usage } = await patient.completions.create({ ...ask, max_tokens: 2 });
  assert.equal(usage!.completion_tokens, 2);
  await Promise.all(long);
});

test("a client that reads slowly gets all, one that does not read is left", async () => {
  await using server = serve({ timeout: 1000, stopIds: [] });
  const ask = { prompt: "a", max_tokens: 390, seed: 2, logprobs: 5, stream: true };
  const response = await post(server.url, "/v1/completions", JSON.stringify(ask));
  let read = "";
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    if (read.length < 5000) await new Promise((resolve) => setTimeout(resolve, 20));
    read += part;
  }
  assert.equal(read.match(/"finish_reason":"length"/g)?.length, 1);
  assert.ok(read.endsWith("data: [DONE]\n\n"));

  // A connection that takes nothing, of answers that are longer than the buffers of the system.
  const { port } = new URL(server.url);
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
  const body = JSON.stringify({
    ...{ messages: hello, n: 100, max_tokens: 370, stream: true, logprobs: true, top_logprobs: 20 },
  });
  await connection.write(new TextEncoder().encode(
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" +
      `content-length: ${body.length}\r\n\r\n${body}`,
  ));
  const { engine } = server.handler;
  await until(() => engine.stats.running > 0, "it runs");
  // Others are served all the while.
  const { usage } = await server.client.completions.create({
    model: name,
    prompt: "b",
    max_tokens: 5,
  });
  assert.equal(usage!.completion_tokens, 5);
  await until(() => engine.stats.running + engine.stats.waiting === 0, "it is left");
  assert.ok(engine.stats.generatedTokens < 370 * 100, "before all was drawn");
  connection.close();
});

test("200 clients of which a third leave: all others get what they would get alone", async () => {
  await using server = serve({ maxQueue: 200 });
  const requests = Array.from({ length: 200 }, (_, i) => ({
    model: name,
    messages: [{ role: "user" as const, content: "Tell me of ".padEnd(10 + i % 30, "abc") }],
    max_tokens: 10 + i % 25,
    seed: i % 40,
  }));
  const texts = await Promise.all(requests.map(async (request, i) => {
    const leave = new AbortController();
    const { signal } = leave;
    if (i % 3 !== 0) {
      const { choices } = await server.client.chat.completions.create(request);
      return choices[0]!.message.content;
    }
    const stream = i % 2 === 0;
    if (!stream) setTimeout(() => leave.abort(), i);
    try {
      const answer = await server.client.chat.completions.create({ ...request, stream }, {
        signal,
      });
      if (!(Symbol.asyncIterator in answer)) return null;
      let events = 0;
      for await (const _ of answer) if (events++ > i % 7) leave.abort();
    } catch (error) {
      assert.ok(error instanceof OpenAI.APIUserAbortError, String(error));
    }
    return null;
  }));
  const { engine } = server.handler;
  await until(() => engine.stats.running + engine.stats.waiting === 0, "nothing is left behind");
  const health = await (await fetch(`${server.url}/health`)).json();
  assert.equal(health.status, "ok");
  for (const i of [1, 50, 100, 199]) {
    const { choices } = await server.client.chat.completions.create(requests[i]!);
    assert.equal(texts[i], choices[0]!.message.content);
  }
});

test("an answer that fails after its first text ends, and is counted", async () => {
  let steps = 0;
  const failing: NextTokenModel = {
    ...{ config: model.config, device, createCache: (batch) => model.createCache(batch) },
    nextLogits(ids, options) {
      if (++steps === 4) throw new Error("out of luck");
      return model.nextLogits(ids, options);
    },
  };
  const handler = createHandler(failing, asciiTokenizer, { stopIds: [] });
  const init = { method: "POST", headers: { "content-type": "application/json" } };
  const body = JSON.stringify({ prompt: "a", max_tokens: 20, temperature: 0 });
  const ask = new Request("http://localhost/v1/completions", { ...init, body });
  await assert.rejects((await handler(ask)).text(), /out of luck/);
  const metrics = await (await handler(new Request("http://localhost/metrics"))).text();
  assert.match(metrics, /^dinograd_request_duration_seconds_count 1$/m);
  await handler.shutdown();
});

test("a shutdown finishes running answers and refuses others", async () => {
  const server = serve({ maxBatch: 1, stopIds: [] });
  const ask = { model: name, prompt: "a", max_tokens: 200, stream: true as const };
  const stream = await server.client.completions.create(ask);
  const waits = server.client.completions.create({ ...ask, stream: false });
  waits.catch(() => {});
  let events = 0;
  let done: Promise<void> | undefined;
  for await (const _ of stream) {
    if (++events !== 5) continue;
    await until(() => server.handler.engine.stats.waiting === 1, "the other waits");
    done = server.handler.shutdown();
    await assert.rejects(server.client.completions.create(ask), { status: 503 });
    await assert.rejects(waits, { status: 503 });
  }
  assert.equal(events, 201);
  await done;
  assert.equal((await fetch(`${server.url}/health`)).status, 503);
  await server[Symbol.asyncDispose]();
});
