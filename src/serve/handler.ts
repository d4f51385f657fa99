/**
 * OpenAI's HTTP interface to a model.
 *
 * @module
 */
import type { ChatTemplate } from "../data/chat_format.ts";
import { type NextTokenModel, sharedVocabSize } from "../decode/next_token_model.ts";
import { plainChatTemplate } from "../pretrained/chat_template.ts";
import {
  endOfTextIds,
  type PretrainedTokenizer,
  promptIds,
  type Tokenizer,
} from "../tokenizer/tokenizer.ts";
import { ApiError } from "./api_error.ts";
import { type Body, readBody } from "./body.ts";
import {
  chatCompletions,
  Completion,
  type CompletionContext,
  completions,
  type Format,
} from "./completions.ts";
import { embed, isEmbeddingModel, type Pooling } from "./embeddings.ts";
import { Engine, EngineClosedError, type EngineOptions, QueueFullError } from "./engine.ts";
import { Metrics } from "./metrics.ts";

/** Options of {@linkcode createHandler}. */
export interface HandlerOptions extends Omit<EngineOptions, "vocabSize"> {
  /** The name of the model. Default: `"dinograd"`. */
  readonly modelName?: string;
  /** The key that requests below `/v1` must send. Default: none. */
  readonly apiKey?: string | undefined;
  /**
   * The maximum number of tokens of an answer, and the number in a chat if the request gives none. Default: what is
   * left of the context.
   */
  readonly maxTokens?: number | undefined;
  /** How conversations are written for the model (see `loadChatTemplate`). Default: {@linkcode plainChatTemplate}. */
  readonly chatTemplate?: ChatTemplate;
  /** Ids that end an answer (see `loadStopIds`). Default: the tokenizer's special tokens that end texts and turns. */
  readonly stopIds?: Iterable<number>;
  /** How hidden states become an embedding. Default: `"mean"`. */
  readonly pooling?: Pooling;
  /** The maximum size of a request in bytes. Default: 4 MiB. */
  readonly maxBodyBytes?: number;
  /**
   * The time in milliseconds for a request to arrive, and for a client to take each part of an answer. Default: 60,000.
   */
  readonly timeout?: number;
}

/** Who sends a request, as `Deno.serve` reports it. */
export interface ServeInfo {
  /** The address. */
  readonly remoteAddr?: { readonly hostname?: string };
}

/** What {@linkcode createHandler} returns: a function for `Deno.serve`, with a way to shut it down. */
export interface Handler {
  /** Answers a request. Never throws. */
  (request: Request, info?: ServeInfo): Promise<Response>;
  /** The engine that runs the requests. */
  readonly engine: Engine;
  /** Finishes running requests, refuses all others, and frees the memory of the engine. */
  shutdown(): Promise<void>;
}

/**
 * Creates a handler for `Deno.serve` that implements OpenAI's interface, for existing clients: `/v1/models`,
 * `/v1/completions` and `/v1/chat/completions` (also streamed), `/v1/embeddings`, and in addition `/health` and
 * `/metrics` (Prometheus). Requests run together in an {@linkcode Engine}, and a request with a `seed` gets the same
 * answer whatever else runs.
 *
 * Unsupported fields that would change the answer are refused with an error that names them.
 *
 * Throws a `RangeError` for an option out of range, and if the tokenizer has more ids than the model.
 *
 * @example
 * ```ts
 * import { CpuDevice, createHandler, GPT2, GPT2Tokenizer } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 50304, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const handler = createHandler(new GPT2(sizes, { device }), new GPT2Tokenizer());
 * const response = await handler(
 *   new Request("http://localhost/v1/completions", {
 *     method: "POST",
 *     headers: { "content-type": "application/json" },
 *     body: JSON.stringify({ prompt: "It was", max_tokens: 4, seed: 1 }),
 *   }),
 * );
 * const { usage } = await response.json();
 * assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [2, 4]);
 * await handler.shutdown();
 * ```
 */
export function createHandler(
  model: NextTokenModel,
  tokenizer: Tokenizer,
  options?: HandlerOptions,
): Handler {
  const server = new Server(model, tokenizer, options ?? {});
  return Object.assign(
    (request: Request, info?: ServeInfo) => server.answer(request, info),
    { engine: server.engine, shutdown: () => server.engine.shutdown() },
  );
}

type Route = (request: Request, client: string) => Response | Promise<Response>;

class Server {
  readonly engine: Engine;
  readonly #model: NextTokenModel;
  readonly #tokenizer: Tokenizer;
  readonly #options:
    & HandlerOptions
    & Required<Pick<HandlerOptions, "modelName" | "maxBodyBytes" | "timeout" | "pooling">>;
  readonly #context: CompletionContext;
  readonly #metrics = new Metrics();
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #key: Promise<Uint8Array> | undefined;
  readonly #routes: Readonly<Record<string, readonly [method: string, route: Route]>>;

  constructor(model: NextTokenModel, tokenizer: Tokenizer, options: HandlerOptions) {
    const vocabSize = sharedVocabSize("createHandler", model, tokenizer);
    const { maxPositionEmbeddings: contextSize } = model.config;
    const { maxTokens } = options;
    if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens >= 1)) {
      throw new RangeError(`createHandler: expected a maxTokens of 1 or more but got ${maxTokens}`);
    }
    this.engine = new Engine(model, { ...options, vocabSize });
    this.#model = model;
    this.#tokenizer = tokenizer;
    const { modelName = "dinograd", maxBodyBytes = 2 ** 22 } = options;
    const { timeout = 60_000, pooling = "mean" } = options;
    this.#options = { ...options, modelName, maxBodyBytes, timeout, pooling };
    this.#context = {
      engine: this.engine,
      tokenizer,
      contextSize,
      maxTokens,
      modelName,
      chatTemplate: options.chatTemplate ?? plainChatTemplate,
      stopIds: [...options.stopIds ?? endOfTextIds(tokenizer)],
    };
    this.#key = options.apiKey === undefined ? undefined : digest(options.apiKey);
    this.#routes = {
      "/health": ["GET", () => this.#health()],
      "/metrics": ["GET", () => this.#showMetrics()],
      "/v1/models": ["GET", () => Response.json({ object: "list", data: [this.#modelCard()] })],
      [`/v1/models/${modelName}`]: ["GET", () => Response.json(this.#modelCard())],
      "/v1/completions": ["POST", (...args) => this.#complete(completions, ...args)],
      "/v1/chat/completions": ["POST", (...args) => this.#complete(chatCompletions, ...args)],
      "/v1/embeddings": ["POST", (request) => this.#embed(request)],
    };
  }

  async answer(request: Request, info?: ServeInfo): Promise<Response> {
    const path = decoded(new URL(request.url).pathname);
    const route = Object.hasOwn(this.#routes, path) ? this.#routes[path] : undefined;
    let response: Response;
    try {
      response = await this.#respond(request, path, route, info?.remoteAddr?.hostname ?? "");
    } catch (error) {
      const told = toApiError(error);
      if (told.status === 500) console.error(error);
      response = told.toResponse();
    }
    this.#metrics.answered(route ? path : "other", response.status);
    return response;
  }

  async #respond(
    request: Request,
    path: string,
    route: readonly [method: string, route: Route] | undefined,
    client: string,
  ): Promise<Response> {
    if (path.startsWith("/v1/")) await this.#checkKey(request);
    if (!route) throw new ApiError(404, `there is no ${request.method} ${path}`);
    const [method, answer] = route;
    if (request.method !== method) {
      throw new ApiError(405, `${path}: expected the method ${method} but got ${request.method}`);
    }
    return await answer(request, client);
  }

  async #checkKey(request: Request): Promise<void> {
    if (!this.#key) return;
    const given = /^Bearer (.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
    // Digests are compared, so that the time taken reveals nothing about the key.
    const [right, own] = await Promise.all([this.#key, digest(given ?? "")]);
    if (given !== undefined && right.every((byte, i) => byte === own[i])) return;
    throw new ApiError(401, "expected the API key of this server in the header authorization", {
      code: "invalid_api_key",
    });
  }

  #modelCard(): Record<string, unknown> {
    const { modelName: id } = this.#options;
    return { id, object: "model", created: this.#created, owned_by: "dinograd" };
  }

  #health(): Response {
    const { open } = this.engine;
    const { running, waiting } = this.engine.stats;
    return Response.json({ status: open ? "ok" : "closed", running, waiting }, {
      status: open ? 200 : 503,
    });
  }

  #showMetrics(): Response {
    return new Response(this.#metrics.text(this.engine.stats), {
      headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
    });
  }

  async #complete(format: Format, request: Request, client: string): Promise<Response> {
    const started = performance.now();
    const body = await this.#read(request);
    const asked = format.read(body, this.#context);
    const completion = new Completion(format, asked, this.#context, client);
    const seconds = () => (performance.now() - started) / 1000;
    const firstText = Promise.withResolvers<void>();
    let isFirst = true;
    const onText = () => {
      if (isFirst) this.#metrics.firstText(seconds());
      isFirst = false;
      firstText.resolve();
    };
    const onEnd = () => {
      completion.cancel();
      this.#metrics.ended(seconds());
    };
    const { timeout } = this.#options;
    if (asked.stream) {
      const events = eventTexts(completion.events(onText));
      return new Response(textStream(events, timeout, onEnd), {
        headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
      });
    }
    const whole = completion.whole(onText);
    try {
      // A failure before there is any text is reported in the status.
      await Promise.race([firstText.promise, whole]);
    } catch (error) {
      onEnd();
      throw error;
    }
    return new Response(textStream(jsonText(whole), timeout, onEnd), {
      headers: { "content-type": "application/json" },
    });
  }

  async #embed(request: Request): Promise<Response> {
    const model = this.#model;
    if (!isEmbeddingModel(model)) throw new ApiError(404, "this model has no embeddings");
    const body = await this.#read(request);
    const inputs = body.inputs("input", 2048);
    const encoding = body.text("encoding_format") ?? "float";
    if (encoding !== "float" && encoding !== "base64") {
      throw body.refuse("encoding_format", "float or base64");
    }
    body.allowOnly({ dimensions: [] });
    body.ignore("model", "user");
    body.finish();
    const { vocabSize, maxPositionEmbeddings: contextSize } = model.config;
    // A whole text, which some models take the vector from the end of.
    const { suffix = [] } = this.#tokenizer as Partial<PretrainedTokenizer>;
    const texts = inputs.map((input) =>
      typeof input === "string" ? [...promptIds(this.#tokenizer, input), ...suffix] : input
    );
    texts.forEach((ids, i) => {
      const right = ids.length >= 1 && ids.length <= contextSize &&
        ids.every((id) => id >= 0 && id < vocabSize);
      if (right) return;
      throw new ApiError(
        400,
        `input: expected 1 to ${contextSize} tokens of ids from 0 to ${
          vocabSize - 1
        } but got another at ${i}`,
        { param: "input", code: "invalid_value" },
      );
    });
    const data = [];
    for (const [index, ids] of texts.entries()) {
      const vector = await this.engine.run(() => embed(model, ids, this.#options.pooling));
      const bytes = new Uint8Array(vector.buffer);
      const embedding = encoding === "float" ? [...vector] : bytes.toBase64();
      data.push({ object: "embedding", index, embedding });
    }
    const tokens = texts.reduce((sum, { length }) => sum + length, 0);
    const usage = { prompt_tokens: tokens, total_tokens: tokens };
    return Response.json({ object: "list", data, model: this.#options.modelName, usage });
  }

  /** Reads the body of a request for this model. */
  async #read(request: Request): Promise<Body> {
    const { maxBodyBytes, timeout, modelName } = this.#options;
    const body = await readBody(request, maxBodyBytes, timeout);
    const model = body.text("model") ?? modelName;
    if (model === modelName) return body;
    throw new ApiError(
      404,
      `model: expected ${modelName}, which this server has, but got ${model}`,
      {
        ...{ param: "model", code: "model_not_found" },
      },
    );
  }
}

/** Returns the error to answer for one that was thrown. */
function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const { message } = error as Error;
  if (error instanceof QueueFullError) {
    return new ApiError(429, "the server is busy: try again later", { code: "queue_full" });
  }
  if (error instanceof EngineClosedError) return new ApiError(503, message, { code: "closed" });
  if (error instanceof RangeError) return new ApiError(400, message, { code: "invalid_value" });
  return new ApiError(500, "the server failed");
}

/** Formats server-sent events as text. An error ends them with an event that reports it. */
async function* eventTexts(
  events: AsyncGenerator<Record<string, unknown>>,
): AsyncGenerator<string, void, void> {
  try {
    for await (const event of events) yield `data: ${JSON.stringify(event)}\n\n`;
    yield "data: [DONE]\n\n";
  } catch (error) {
    const told = toApiError(error);
    if (told.status === 500) console.error(error);
    yield `data: ${JSON.stringify(told)}\n\n`;
  }
}

/** Yields a value as JSON. Although it is one piece, it is streamed, so that a client that leaves is noticed. */
async function* jsonText(value: Promise<unknown>): AsyncGenerator<string, void, void> {
  yield JSON.stringify(await value);
}

/**
 * Returns texts as a stream that asks for the next once the one before was taken. It gives up on a client that does not
 * take one within `timeout` milliseconds. `onEnd` is called when the stream ends, for whatever reason.
 */
function textStream(
  texts: AsyncGenerator<string, void, void>,
  timeout: number,
  onEnd: () => void,
): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  const end = () => {
    clearTimeout(timer);
    if (ended) return;
    ended = true;
    onEnd();
    // Not awaited: it waits for the text in progress.
    texts.return().catch(() => {});
  };
  return new ReadableStream({
    async pull(controller) {
      clearTimeout(timer);
      const { value, done } = await texts.next().catch((error) => {
        end();
        throw error;
      });
      if (done) {
        end();
        controller.close();
        return;
      }
      controller.enqueue(new TextEncoder().encode(value));
      timer = setTimeout(() => {
        end();
        controller.error(new Error(`the client took nothing within ${timeout} ms`));
      }, timeout);
    },
    cancel: end,
  }, { highWaterMark: 0 });
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
