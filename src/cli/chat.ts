/** `dinograd chat`: a conversation with a model. */
import { createInterface, type Interface } from "node:readline";
import process from "node:process";
import {
  Answer,
  type ChatMessage,
  type ChatTemplate,
  Engine,
  type EngineRequest,
  type EngineSequence,
  type Tokenizer,
} from "../../mod.ts";
import type { CacheOptions, DeviceOptions, MatrixOptions } from "./arguments.ts";
import { findTextModel, type FoundText } from "./find_model.ts";
import { openChosenDevice } from "./open_device.ts";
import { write } from "./output.ts";

/** What a command line may ask for. */
export interface ChatOptions extends DeviceOptions, MatrixOptions, CacheOptions {
  system?: string;
  maxTokens?: number;
  temperature: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed?: number;
}

/** Answers the lines of the standard input, until it ends. */
export async function chat(from: string, options: ChatOptions): Promise<void> {
  const device = await openChosenDevice(options);
  const found = await findTextModel(from, device, { matrices: options.dtype ?? "stored" });
  const { model } = found;
  model.cacheDtype = options.cacheDtype;
  const chat = new Chat(found, await found.chatTemplate(), options);
  const lines = createInterface({
    ...{ input: process.stdin, output: process.stderr, terminal: Deno.stdin.isTerminal() },
    prompt: "> ",
  });
  const onInterrupt = () => chat.stop() || lines.close();
  // A terminal hands Ctrl-C to whoever reads its lines; a signal comes from elsewhere.
  lines.on("SIGINT", onInterrupt);
  Deno.addSignalListener("SIGINT", onInterrupt);
  try {
    for await (const line of prompted(lines)) {
      if (line.trim() === "/exit") break;
      if (line.trim() === "/clear") chat.clear();
      else if (/^\s*\/\w+\s*$/.test(line)) {
        console.error(`${line.trim()}: expected /clear or /exit`);
      } else if (line.trim()) await chat.say(line);
    }
  } finally {
    Deno.removeSignalListener("SIGINT", onInterrupt);
    lines.close();
    await chat.end();
    model.dispose();
  }
}

/** Lines, asked for with a prompt where a person types them. */
async function* prompted(lines: Interface): AsyncGenerator<string, void, void> {
  const isTerminal = Deno.stdin.isTerminal();
  const ask = () => isTerminal && lines.prompt();
  ask();
  for await (const line of lines) {
    yield line;
    ask();
  }
  if (isTerminal) console.error(); // ends the line of the last prompt
}

/** A conversation, and the answer that is being written. */
class Chat {
  readonly #engine: Engine;
  readonly #contextSize: number;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #options: ChatOptions;
  readonly #stopIds: readonly number[];
  #messages: ChatMessage[] = [];
  #answer: Answer | undefined;
  #turns = 0;

  constructor(
    { model, tokenizer, stopIds }: FoundText,
    template: ChatTemplate,
    options: ChatOptions,
  ) {
    // What was read of earlier turns stays in the engine.
    this.#engine = new Engine(model, { maxBatch: 1, vocabSize: tokenizer.vocabSize });
    this.#contextSize = model.config.maxPositionEmbeddings;
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#options = options;
    this.#stopIds = stopIds;
    this.clear();
  }

  /** Forgets the conversation, but not what the model was told before it. */
  clear(): void {
    const { system } = this.#options;
    this.#messages = system === undefined ? [] : [{ role: "system", content: system }];
  }

  /** Adds a message, and writes the answer while it is drawn. */
  async say(content: string): Promise<void> {
    this.#messages.push({ role: "user", content });
    const sequence = this.#submit();
    if (!sequence) return;
    const ends = { stop: this.#template.stop, stopIds: new Set(this.#stopIds) };
    this.#answer = new Answer(sequence, this.#tokenizer, ends);
    let text = "";
    for await (const piece of this.#answer.pieces()) {
      // A template may leave the space before an answer to the model.
      const shown = text ? piece.text : piece.text.trimStart();
      text += shown;
      write(shown);
    }
    write("\n");
    this.#answer = undefined;
    this.#messages.push({ role: "assistant", content: text });
  }

  /** Begins an answer; a message that cannot be answered, as one that is too long, is taken back. */
  #submit(): EngineSequence | undefined {
    try {
      return this.#engine.submit([this.#request()])[0];
    } catch (error) {
      console.error(`error: ${(error as Error).message}`);
      this.#messages.pop();
      return undefined;
    }
  }

  /** Stops the answer. False where none is being written. */
  stop(): boolean {
    this.#answer?.cancel();
    return this.#answer !== undefined;
  }

  /** Ends it. */
  async end(): Promise<void> {
    this.stop();
    await this.#engine.shutdown();
  }

  /** What to continue. Where it is too long the oldest messages are forgotten. */
  #request(): EngineRequest {
    const { maxTokens, temperature, topK, topP, minP, seed } = this.#options;
    const wanted = Math.min(maxTokens ?? Infinity, Math.ceil(this.#contextSize / 4));
    const encode = () => this.#template.encode(this.#messages, this.#tokenizer);
    const first = this.#messages[0]!.role === "system" ? 1 : 0;
    let prompt = encode();
    let forgotten = 0;
    while (prompt.length + wanted > this.#contextSize && this.#messages.length > first + 2) {
      this.#messages.splice(first, 2);
      forgotten += 2;
      prompt = encode();
    }
    if (forgotten) console.error(`(context full: dropped the oldest ${forgotten} messages)`);
    const left = this.#contextSize + 1 - prompt.length;
    return {
      prompt,
      length: maxTokens && Math.max(1, Math.min(maxTokens, left)),
      stopIds: this.#stopIds,
      temperature,
      ...topK !== undefined && { topK: Math.min(topK, this.#tokenizer.vocabSize) },
      ...topP !== undefined && { topP },
      ...minP !== undefined && { minP },
      seed: seed === undefined ? undefined : seed + this.#turns++,
    };
  }
}
