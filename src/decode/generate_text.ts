/**
 * Continues a text, and keeps what a model has read between the turns of a conversation.
 *
 * @module
 */
import type { TypedArray } from "../device/dtype.ts";
import type { KeyValueCache } from "../nn/key_value_cache.ts";
import { endOfTextIds, promptIds, StreamDecoder, type Tokenizer } from "../tokenizer/tokenizer.ts";
import type { GenerateTokensOptions } from "./generate.ts";
import { checkPrompts, type NextTokenModel, sharedVocabSize } from "./next_token_model.ts";
import { StopStrings } from "./stop_strings.ts";
import { checkSteps, Sequences, tokenSteps } from "./token_steps.ts";

/** Options of {@linkcode generateText} and {@linkcode Conversation.generate}. */
export interface GenerateTextOptions extends GenerateTokensOptions {
  /** The text ends before the first of these strings. Default: none. */
  readonly stop?: readonly string[];
  /** The text ends at the first of these ids. Default: those of {@linkcode endOfTextIds}. */
  readonly stopIds?: Iterable<number>;
}

/**
 * Continues `prompt`, in which special tokens count as ordinary text, and yields the new text in pieces as it comes. A
 * piece never ends inside a character, and never includes any of a stop string or of a stop id's token. Ids that only
 * pad the model's vocabulary are never drawn.
 *
 * Throws a `RangeError` if the tokenizer has more ids than the model, special tokens aside, for an empty prompt, and
 * otherwise as `generate` does.
 *
 * @example
 * ```ts
 * import { CpuDevice, generateText, GPT2, GPT2Tokenizer } from "@dinograd/dinograd";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 50304, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device });
 * let text = "It was";
 * for await (const piece of generateText(model, new GPT2Tokenizer(), text, { length: 4, stop: ["."] })) {
 *   text += piece;
 * }
 * ```
 */
export async function* generateText(
  model: NextTokenModel,
  tokenizer: Tokenizer,
  prompt: string,
  options?: GenerateTextOptions,
): AsyncGenerator<string, void, void> {
  const vocabSize = sharedVocabSize("generateText", model, tokenizer);
  const { stop = [], stopIds = endOfTextIds(tokenizer), ...rest } = options ?? {};
  const ends = new Set(stopIds);
  const prompts = [promptIds(tokenizer, prompt)];
  const drawn = tokenSteps("generateText", model, prompts, 1, { vocabSize, ...rest });
  yield* textOf(drawn, tokenizer, stop, ends);
}

/**
 * A conversation with a model. Each turn reads only what is new: the keys and values of everything before stay in a
 * {@linkcode KeyValueCache} until the conversation is disposed of. With greedy decoding a turn gives the same ids as
 * reading everything again, up to rounding.
 *
 * @example
 * ```ts
 * import { Conversation, CpuDevice, GPT2, GPT2Tokenizer } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 50304, maxPositionEmbeddings: 32, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * using chat = new Conversation(new GPT2(sizes, { device }), new GPT2Tokenizer());
 * for (const question of ["User: Hello!\nBot:", "\nUser: Who are you?\nBot:"]) {
 *   const answer = await Array.fromAsync(chat.generate(question, { length: 5, stop: ["\n"] }));
 *   assert.equal(typeof answer.join(""), "string");
 * }
 * assert(chat.ids.length > 12);
 * ```
 */
export class Conversation implements Disposable {
  readonly #model: NextTokenModel;
  readonly #tokenizer: Tokenizer;
  readonly #vocabSize: number;
  /** Holds the first of `#ids`; undefined after disposal. */
  #cache: KeyValueCache | undefined;
  #ids: number[] = [];
  #busy = false;

  /** Starts an empty conversation. Throws a `RangeError` if the tokenizer has more ids than the model. */
  constructor(model: NextTokenModel, tokenizer: Tokenizer) {
    this.#vocabSize = sharedVocabSize("Conversation", model, tokenizer);
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#cache = model.createCache(1);
  }

  /**
   * All ids of the conversation, both prompts and replies. After it outgrew the context (see `overflow`), the ids that
   * are left.
   */
  get ids(): Uint32Array {
    return Uint32Array.from(this.#ids);
  }

  /**
   * Adds `prompt` to the conversation and yields the model's reply in pieces as it comes, as {@linkcode generateText}
   * does. Special tokens in a text count as ordinary text; for a prompt with special tokens, pass the ids from
   * `tokenizer.encode`. With an empty prompt the model continues after its last reply.
   *
   * The reply stays in the conversation as it was drawn, including the stop id or the tokens of the stop string that
   * ended it. If the loop is left early or aborted, the reply is kept as far as it came.
   *
   * Throws an `Error` while an earlier reply is still being read or after `dispose`, and a `RangeError` as `generate`
   * does: also if the conversation plus `length` tokens exceeds the context, unless `overflow` is `"slide"`, which then
   * drops the older half. A prompt refused with a `RangeError` is not added.
   */
  async *generate(
    prompt: string | ArrayLike<number>,
    options?: GenerateTextOptions,
  ): AsyncGenerator<string, void, void> {
    const { stop = [], stopIds = endOfTextIds(this.#tokenizer), ...rest } = options ?? {};
    const ends = new Set(stopIds);
    const ids = this.#draw(prompt, { vocabSize: this.#vocabSize, ...rest });
    yield* textOf(ids, this.#tokenizer, stop, ends);
  }

  /** Frees the cache. */
  dispose(): void {
    this.#cache?.dispose();
    this.#cache = undefined;
  }

  /** Calls {@linkcode Conversation.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  async *#draw(
    prompt: string | ArrayLike<number>,
    options: GenerateTokensOptions,
  ): AsyncGenerator<TypedArray, void, void> {
    const cache = this.#cache;
    if (!cache) throw new Error("Conversation: expected one in use but got one that is disposed");
    if (this.#busy) throw new Error("Conversation: expected one reply at a time but got a second");
    const added = typeof prompt !== "string"
      ? Array.from(prompt)
      : this.#ids.length > 0
      ? this.#tokenizer.encodeOrdinary(prompt)
      : promptIds(this.#tokenizer, prompt);
    const all = [...this.#ids, ...added];
    if (added.length > 0) checkPrompts("Conversation", [added], this.#model.config.vocabSize);
    const length = checkSteps("Conversation", this.#model, [all], options, "a conversation");
    using sequences = new Sequences(this.#model, [all], options, { cache });
    this.#busy = true;
    this.#ids = sequences.known[0]!;
    try {
      yield* sequences.draw("Conversation", length);
    } catch (error) {
      // A failed pass leaves positions that were never filled; an abort comes between two passes.
      if (error !== options.signal?.reason) cache.clear();
      throw error;
    } finally {
      // The next turn reads the last id again, but nothing that was drawn after the end of this reply.
      cache.truncate(Math.min(cache.length, this.#ids.length - 1));
      this.#busy = false;
    }
  }
}

/** Decodes ids, each step's first, as they come, up to a stop string or one of the ids in `ends`. */
async function* textOf(
  ids: AsyncIterable<TypedArray>,
  tokenizer: Tokenizer,
  stop: readonly string[],
  ends: ReadonlySet<number>,
): AsyncGenerator<string, void, void> {
  const decoder = new StreamDecoder(tokenizer);
  const filter = new StopStrings(stop);
  for await (const [id] of ids) {
    if (ends.has(id!)) break;
    const piece = filter.push(decoder.push(id!));
    if (piece) yield piece;
    if (filter.found) return;
  }
  const last = filter.push(decoder.flush()) + filter.flush();
  if (last) yield last;
}
