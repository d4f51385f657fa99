/**
 * A request in the engine: one sequence, from the queue to its last token.
 *
 * @module
 */
import type { SamplingOptions } from "../ops/sampling.ts";
import { RandomState } from "../tensor/random.ts";

/** What an engine is asked to continue. */
export interface EngineRequest extends Omit<SamplingOptions, "repetitionPenalty" | "vocabSize"> {
  /** The ids to continue, one or more. */
  readonly prompt: ArrayLike<number>;
  /** The most tokens to add. Default: what is left of the context. */
  readonly length?: number | undefined;
  /** The sequence ends with the first of these ids. Default: none. */
  readonly stopIds?: Iterable<number>;
  /** Of the random numbers: with a seed the ids repeat, whatever else the engine does. Default: another one each time. */
  readonly seed?: number | undefined;
  /** Tells the logarithm of each id's probability, and those of so many of the likeliest. Default: neither. */
  readonly logprobs?: number | undefined;
  /** Who asks: clients that wait take turns. Default: "". */
  readonly client?: string;
}

/** An id with the natural logarithm of its probability, before temperature and the like. */
export interface TokenLogprob {
  /** The id. */
  readonly id: number;
  /** ln p. */
  readonly logprob: number;
}

/** A token that an engine has drawn. */
export interface GeneratedToken {
  /** The id. */
  readonly id: number;
  /** Where it was asked for. */
  readonly logprob?: number;
  /** The likeliest ids, the likeliest first. */
  readonly top?: readonly TokenLogprob[];
}

/** Why a sequence ended: one of its `stopIds`, its `length`, or because it was cancelled. */
export type FinishReason = "stop" | "length" | "cancelled";

/**
 * A sequence that an engine continues. Iterating over it gives the new tokens as they are drawn, the one that ended it
 * included; leaving the loop early cancels it. What the engine could not do is thrown there.
 */
export interface EngineSequence extends AsyncIterable<GeneratedToken> {
  /** All ids that were drawn. */
  readonly ids: readonly number[];
  /** Tokens of the prompt that were known from earlier ones. */
  readonly cachedTokens: number;
  /** Why it ended; undefined while it runs. */
  readonly finishReason: FinishReason | undefined;
  /** Ends it early; does nothing once it is done. */
  cancel(): void;
}

/** What the engine knows of a sequence. */
export class Sequence implements EngineSequence {
  /** The ids to continue. */
  readonly prompt: ArrayLike<number>;
  /** The most tokens to add. */
  readonly length: number;
  /** Who asks. */
  readonly client: string;
  /** How ids are drawn. */
  readonly sampling: SamplingOptions;
  /** What they are drawn with. */
  readonly random: RandomState;
  /** How many of the likeliest ids are told with each token; undefined: not even its own probability. */
  readonly logprobs: number | undefined;
  /** All ids that were drawn. */
  readonly ids: number[] = [];
  /** How many of `ids` the model has read; those that it lost with its keys and values it reads again. */
  read = 0;
  /** Tokens of the prompt that were known from earlier ones. */
  cachedTokens = 0;
  /** Why it ended; undefined while it runs. */
  finishReason: FinishReason | undefined;
  readonly #stopIds: ReadonlySet<number>;
  readonly #onCancel: (sequence: Sequence) => void;
  readonly #unread: GeneratedToken[] = [];
  #error: unknown;
  #wake = Promise.withResolvers<void>();

  /** Takes a request whose `length` is known; `onCancel` is called when nobody wants it any more. */
  constructor(
    { prompt, length, stopIds = [], seed, logprobs, client = "", ...sampling }: EngineRequest & {
      readonly length: number;
    },
    onCancel: (sequence: Sequence) => void,
  ) {
    this.prompt = prompt;
    this.length = length;
    this.client = client;
    this.sampling = sampling;
    this.random = new RandomState(seed);
    this.logprobs = logprobs;
    this.#stopIds = new Set(stopIds);
    this.#onCancel = onCancel;
  }

  /** True once it ended or failed. */
  get done(): boolean {
    return this.finishReason !== undefined || this.#error !== undefined;
  }

  /** Tokens that may still be drawn. */
  get left(): number {
    return this.length - this.ids.length;
  }

  /** True while the model reads ids again that it had read before, so that nothing is drawn. */
  get replays(): boolean {
    return this.read + 1 < this.ids.length;
  }

  /** Ends it early; does nothing once it is done. */
  cancel(): void {
    if (this.done) return;
    this.#finish("cancelled");
    this.#onCancel(this);
  }

  /** Adds a token, and ends where that is the last. */
  push(token: GeneratedToken): void {
    this.ids.push(token.id);
    this.#unread.push(token);
    if (this.#stopIds.has(token.id)) this.#finish("stop");
    else if (this.left === 0) this.#finish("length");
    else this.#notify();
  }

  /** Ends with an error. */
  fail(error: unknown): void {
    if (this.done) return;
    this.#error = error ?? new Error("Engine: a sequence failed");
    this.#notify();
  }

  /** The tokens as they are drawn, for one reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedToken, void, void> {
    try {
      while (true) {
        const token = this.#unread.shift();
        if (token) yield token;
        else if (this.#error !== undefined) throw this.#error;
        else if (this.done) return;
        else await this.#wake.promise;
      }
    } finally {
      this.cancel();
    }
  }

  #finish(reason: FinishReason): void {
    this.finishReason = reason;
    this.#notify();
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
