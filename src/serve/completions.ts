/**
 * `/v1/completions` and `/v1/chat/completions`: what they share, and how they differ.
 *
 * @module
 */
import type { ChatMessage } from "../data/chat_format.ts";
import type { ChatTemplate } from "../data/chat_format.ts";
import { promptIds, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { Answer, type AnswerEnds, type AnswerToken, merged, type Piece } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { Body } from "./body.ts";
import type { Engine, EngineRequest } from "./engine.ts";

/** What answers are made with. */
export interface CompletionContext {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate;
  /** The name of the model. */
  readonly modelName: string;
  /** The maximum length of a sequence. */
  readonly contextSize: number;
  /** The maximum number of tokens of an answer, and the number if a request gives none. */
  readonly maxTokens: number | undefined;
  /** Ids that end an answer. */
  readonly stopIds: readonly number[];
}

/** A parsed request. */
export interface CompletionRequest {
  readonly prompts: readonly ArrayLike<number>[];
  readonly settings: Omit<EngineRequest, "prompt" | "client">;
  /** The number of answers to each prompt. */
  readonly n: number;
  readonly ends: AnswerEnds;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Whether log-probabilities are returned. */
  readonly logprobs: boolean;
  /** The user of the request, to tell apart those behind one address. */
  readonly user: string;
}

/** How one of the two endpoints writes its answers. */
export interface Format {
  /** The prefix of its ids. */
  readonly prefix: string;
  /** The `object` field of an answer, and of an event of a streamed one. */
  readonly objects: readonly [answer: string, event: string];
  /** Parses a request body. */
  read(body: Body, context: CompletionContext): CompletionRequest;
  /** Returns the choice of a whole answer. */
  choice(text: string, tokens: Tokens): Record<string, unknown>;
  /** Returns the choice of an event: the first, one with text, the last. */
  firstEvent?(): Record<string, unknown>;
  event(text: string, tokens: Tokens): Record<string, unknown>;
  lastEvent(): Record<string, unknown>;
}

/** The tokens of a text. */
interface Tokens {
  readonly tokens: readonly AnswerToken[];
  readonly tokenizer: Tokenizer;
  /** Whether log-probabilities are returned. */
  readonly logprobs: boolean;
}

/** The length of an answer of `/v1/completions` if the request gives none, as in OpenAI's. */
const DEFAULT_TOKENS = 16;

/** The maximum numbers of stop strings, prompts and answers of a request. */
const MAX_STOPS = 16, MAX_PROMPTS = 128, MAX_ANSWERS = 128;

/** `/v1/completions`. */
export const completions: Format = {
  prefix: "cmpl",
  objects: ["text_completion", "text_completion"],
  read(body, context) {
    const inputs = body.inputs("prompt", MAX_PROMPTS);
    const prompts = inputs.map((input) =>
      typeof input === "string" ? promptIds(context.tokenizer, input) : input
    );
    const logprobs = body.number("logprobs", { minimum: 0, maximum: 5, integer: true });
    const maxTokens = body.number("max_tokens", { minimum: 1, integer: true });
    body.allowOnly({ echo: [false], suffix: [""], best_of: [1, body.get("n") ?? 1] });
    const length = lengthOf(context, prompts, maxTokens, DEFAULT_TOKENS);
    return common(body, context, { prompts, length, logprobs, stop: [] });
  },
  choice: (text, tokens) => ({ text, logprobs: completionLogprobs(tokens) }),
  event: (text, tokens) => ({ text, logprobs: completionLogprobs(tokens) }),
  lastEvent: () => ({ text: "", logprobs: null }),
};

/** `/v1/chat/completions`. */
export const chatCompletions: Format = {
  prefix: "chatcmpl",
  objects: ["chat.completion", "chat.completion.chunk"],
  read(body, context) {
    const messages = readMessages(body);
    const maxTokens = body.number("max_completion_tokens", { minimum: 1, integer: true }) ??
      body.number("max_tokens", { minimum: 1, integer: true });
    body.ignore("max_tokens", "parallel_tool_calls", "reasoning_effort", "verbosity");
    const top = body.number("top_logprobs", { minimum: 0, maximum: 20, integer: true });
    const logprobs = body.flag("logprobs") ? top ?? 0 : undefined;
    if (top !== undefined && logprobs === undefined) {
      throw body.refuse("top_logprobs", "logprobs to be true");
    }
    body.allowOnly({
      response_format: [{ type: "text" }],
      modalities: [["text"]],
      tools: [[]],
      tool_choice: ["none", "auto"],
      functions: [[]],
      function_call: ["none", "auto"],
    });
    const { chatTemplate, tokenizer } = context;
    const prompts = [encoded(chatTemplate, messages, tokenizer)];
    const length = lengthOf(context, prompts, maxTokens);
    return common(body, context, { prompts, length, logprobs, stop: chatTemplate.stop });
  },
  choice: (content, tokens) => ({
    message: { role: "assistant", content, refusal: null },
    logprobs: chatLogprobs(tokens),
  }),
  firstEvent: () => ({ delta: { role: "assistant", content: "" }, logprobs: null }),
  event: (content, tokens) => ({ delta: { content }, logprobs: chatLogprobs(tokens) }),
  lastEvent: () => ({ delta: {}, logprobs: null }),
};

/**
 * Returns the maximum number of tokens of an answer: `asked`, or else `standard` as far as the context and the server
 * allow. Throws if they do not allow as many as were asked for.
 */
function lengthOf(
  { contextSize, maxTokens = Infinity }: CompletionContext,
  prompts: readonly ArrayLike<number>[],
  asked: number | undefined,
  standard = Infinity,
): number {
  const longest = Math.max(...prompts.map(({ length }) => length));
  const left = contextSize + 1 - longest;
  const length = asked ?? Math.min(standard, maxTokens, left);
  if (longest > contextSize || length > left) {
    throw new ApiError(
      400,
      `expected at most ${contextSize} tokens of context but got ${longest} in the messages or the prompt and ` +
        `${length} to add`,
      { code: "context_length_exceeded" },
    );
  }
  if (length > maxTokens) {
    throw new ApiError(
      400,
      `max_tokens: expected at most ${maxTokens} on this server but got ${length}`,
      { param: "max_tokens", code: "invalid_value" },
    );
  }
  return length;
}

/** Reads the fields that both endpoints have. */
function common(
  body: Body,
  context: CompletionContext,
  own: {
    prompts: readonly ArrayLike<number>[];
    length: number;
    logprobs: number | undefined;
    stop: readonly string[];
  },
): CompletionRequest {
  const { stopIds, tokenizer } = context;
  const { prompts, length, logprobs } = own;
  const n = body.number("n", { minimum: 1, maximum: MAX_ANSWERS, integer: true }) ?? 1;
  const seed = body.number("seed", { minimum: Number.MIN_SAFE_INTEGER, integer: true });
  const topK = body.number("top_k", { minimum: -1, integer: true }) ?? 0;
  const topP = body.number("top_p", { minimum: 0, maximum: 1 });
  const minP = body.number("min_p", { minimum: 0, maximum: 1 });
  const stream = body.flag("stream");
  const options = body.get("stream_options");
  const includeUsage = (options as { include_usage?: unknown })?.include_usage === true;
  if (options !== undefined && !stream) throw body.refuse("stream_options", "stream to be true");
  const user = body.text("user") ?? "";
  body.allowOnly({ presence_penalty: [0], frequency_penalty: [0], repetition_penalty: [1] });
  body.allowOnly({ logit_bias: [{}] });
  body.ignore(
    "model",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
  );
  const settings = {
    length,
    temperature: body.number("temperature", { minimum: 0, maximum: 2 }) ?? 1,
    ...topK > 0 && { topK: Math.min(topK, tokenizer.vocabSize) },
    ...topP !== undefined && { topP },
    ...minP !== undefined && { minP },
    stopIds,
    // Clients may send negative seeds.
    seed: seed === undefined ? undefined : seed < 0 ? seed + 2 ** 53 : seed,
    logprobs,
  };
  const stop = [...body.texts("stop", MAX_STOPS), ...own.stop];
  body.finish();
  const ends = { stop, stopIds: new Set(stopIds) };
  const probabilities = logprobs !== undefined;
  return { prompts, settings, n, ends, stream, includeUsage, logprobs: probabilities, user };
}

function readMessages(body: Body): ChatMessage[] {
  const messages = body.get("messages");
  if (!Array.isArray(messages) || messages.length === 0) {
    throw body.refuse("messages", "a list of one message or more");
  }
  return messages.map((message, i) => {
    const { role, content } = (message ?? {}) as { role?: unknown; content?: unknown };
    const wrong = (what: string) =>
      new ApiError(400, `messages[${i}]: expected ${what}`, {
        ...{ param: `messages[${i}]`, code: "invalid_value" },
      });
    if (typeof role !== "string" || !ROLES.has(role)) {
      throw wrong(`a role of ${[...ROLES].join(", ")}`);
    }
    const parts = typeof content === "string" ? [{ type: "text", text: content }] : content;
    const isText = (part: unknown): part is { text: string } => {
      const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
      return type === "text" && typeof text === "string";
    };
    if (!Array.isArray(parts) || !parts.every(isText)) {
      throw wrong("a content that is a string, or a list of parts of the type text");
    }
    return {
      role: role === "developer" ? "system" : role,
      content: parts.map(({ text }) => text).join("\n"),
    };
  });
}

const ROLES = new Set(["system", "developer", "user", "assistant", "tool"]);

/** Encodes a conversation; what a template refuses is the caller's mistake. */
function encoded(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  tokenizer: Tokenizer,
): Uint32Array {
  try {
    return template.encode(messages, tokenizer);
  } catch (error) {
    throw new ApiError(
      400,
      `messages: the model's chat template says: ${(error as Error).message}`,
      {
        ...{ param: "messages", code: "invalid_value" },
      },
    );
  }
}

/** An answer in progress. */
export class Completion {
  readonly #format: Format;
  readonly #context: CompletionContext;
  readonly #request: CompletionRequest;
  readonly #answers: readonly Answer[];
  readonly #promptTokens: number;
  readonly #cachedTokens: () => number;
  readonly #head: { id: string; created: number; model: string };

  /** Submits a request to the engine. Throws as {@linkcode Engine.submit} does. */
  constructor(
    format: Format,
    request: CompletionRequest,
    context: CompletionContext,
    client: string,
  ) {
    this.#format = format;
    this.#context = context;
    this.#request = request;
    const { prompts, settings, n, ends, user } = request;
    const { seed } = settings;
    const sequences = context.engine.submit(
      prompts.flatMap((prompt) =>
        Array.from({ length: n }, (_, i) => ({
          ...settings,
          prompt,
          client: `${client} ${user}`,
          // Each choice has its own seed; the first has that of the request.
          seed: seed === undefined ? undefined : (seed + i) % 2 ** 53,
        }))
      ),
    );
    this.#answers = sequences.map((one) => new Answer(one, context.tokenizer, ends));
    this.#promptTokens = prompts.reduce((sum, { length }) => sum + length, 0);
    this.#cachedTokens = () => sequences.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0);
    const id = `${format.prefix}-${crypto.randomUUID().replaceAll("-", "")}`;
    const created = Math.floor(Date.now() / 1000);
    this.#head = { id, created, model: context.modelName };
  }

  /** Returns the whole answer once it is complete; `onText` is called when the first text arrives. */
  async whole(onText: () => void): Promise<Record<string, unknown>> {
    const choices = this.#answers.map(() => ({ text: "", tokens: [] as AnswerToken[] }));
    for await (const [index, piece] of this.#pieces()) {
      if (!piece) continue;
      onText();
      choices[index]!.text += piece.text;
      choices[index]!.tokens.push(...piece.tokens);
    }
    return {
      ...this.#head,
      object: this.#format.objects[0],
      choices: choices.map(({ text, tokens }, index) => ({
        index,
        ...this.#format.choice(text, this.#tokens(tokens)),
        finish_reason: this.#answers[index]!.finishReason,
      })),
      usage: this.#usage(),
    };
  }

  /** Yields the events of a streamed answer. */
  async *events(onText: () => void): AsyncGenerator<Record<string, unknown>, void, void> {
    const { includeUsage } = this.#request;
    const event = (choices: unknown[], usage: unknown = null) => ({
      ...this.#head,
      object: this.#format.objects[1],
      choices,
      ...includeUsage && { usage },
    });
    const { firstEvent } = this.#format;
    for (const index of firstEvent ? this.#answers.keys() : []) {
      yield event([{ index, ...firstEvent!(), finish_reason: null }]);
    }
    for await (const [index, piece] of this.#pieces()) {
      if (!piece) {
        const { finishReason } = this.#answers[index]!;
        yield event([{ index, ...this.#format.lastEvent(), finish_reason: finishReason }]);
        continue;
      }
      onText();
      const tokens = this.#tokens(piece.tokens);
      yield event([{ index, ...this.#format.event(piece.text, tokens), finish_reason: null }]);
    }
    if (includeUsage) yield event([], this.#usage());
  }

  /** Ends the answer early. */
  cancel(): void {
    for (const answer of this.#answers) answer.cancel();
  }

  #pieces(): AsyncGenerator<[number, Piece | undefined], void, void> {
    return merged(this.#answers.map((answer) => answer.pieces()));
  }

  #tokens(tokens: readonly AnswerToken[]): Tokens {
    const { tokenizer } = this.#context;
    return { tokens, tokenizer, logprobs: this.#request.logprobs };
  }

  #usage(): Record<string, unknown> {
    const completionTokens = this.#answers.reduce((sum, { tokens }) => sum + tokens, 0);
    return {
      prompt_tokens: this.#promptTokens,
      completion_tokens: completionTokens,
      total_tokens: this.#promptTokens + completionTokens,
      prompt_tokens_details: { cached_tokens: Math.min(this.#promptTokens, this.#cachedTokens()) },
    };
  }
}

/** Formats log-probabilities as `/v1/completions` does. */
function completionLogprobs({ tokens, tokenizer, logprobs }: Tokens): unknown {
  if (!logprobs) return null;
  const textOf = (id: number) => tokenText(tokenizer.decodeBytes([id]));
  return {
    tokens: tokens.map(({ id }) => textOf(id)),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    // The token itself is always among them.
    top_logprobs: tokens.map(({ top = [], ...own }) =>
      Object.fromEntries([...top, own].map(({ id, logprob }) => [textOf(id), logprob]))
    ),
    text_offset: tokens.map(({ offset }) => offset),
  };
}

/** Formats log-probabilities as `/v1/chat/completions` does. */
function chatLogprobs({ tokens, tokenizer, logprobs }: Tokens): unknown {
  if (!logprobs) return null;
  const told = ({ id, logprob }: { id: number; logprob?: number }) => {
    const bytes = tokenizer.decodeBytes([id]);
    return { token: tokenText(bytes), logprob, bytes: [...bytes] };
  };
  const content = tokens.map((token) => ({
    ...told(token),
    top_logprobs: (token.top ?? []).map(told),
  }));
  return { content, refusal: null };
}

/**
 * Returns the text of a single token, with its leading space, which `decode` drops where a text begins. Bytes that are
 * not whole characters are written as OpenAI does: `\xf0\x9f`.
 */
function tokenText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  }
}
