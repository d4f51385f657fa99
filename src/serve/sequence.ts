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
  /** The maximum number of tokens to add. Default: what is left of the context. */
  readonly length?: number | undefined;
  /** The sequence ends at the first of these ids. Default: none. */
  readonly stopIds?: Iterable<number>;
  /**
   * The seed of the random numbers; with one, the ids repeat whatever else the engine does. Default: a new one each
   * time.
   */
  readonly seed?: number | undefined;
  /**
   * The number of likeliest ids whose log-probabilities come with each id, besides its own. Default: none, not even its
   * own.
   */
  readonly logprobs?: number | undefined;
  /** The client; waiting clients take turns. Default: "". */
  readonly client?: string;
}

/** An id with the natural logarithm of its probability, before temperature and other sampling options. */
export interface TokenLogprob {
  /** The id. */
  readonly id: number;
  /** ln p. */
  readonly logprob: number;
}

/** A token drawn by an engine. */
export interface GeneratedToken {
  /** The id. */
  readonly id: number;
  /** The natural logarithm of its probability, if requested. */
  readonly logprob?: number;
  /** The likeliest ids, likeliest first, if requested. */
  readonly top?: readonly TokenLogprob[];
}

/** Why a sequence ended: one of its `stopIds`, its `length`, or because it was cancelled. */
export type FinishReason = "stop" | "length" | "cancelled";

/**
 * A sequence that an engine continues. Iterating over it yields the new tokens as they are drawn, including the one
 * that ended it; leaving the loop early cancels it. Failures of the engine are thrown there.
 */
export interface EngineSequence extends AsyncIterable<GeneratedToken> {
  /** All ids drawn so far. */
  readonly ids: readonly number[];
  /** The number of the prompt's tokens that were known from earlier prompts. */
  readonly cachedTokens: number;
  /** Why it ended; undefined while it runs. */
  readonly finishReason: FinishReason | undefined;
  /** Ends the sequence early; does nothing once it is done. */
  cancel(): void;
}

/** The engine's state of a sequence. */
export class Sequence implements EngineSequence {
  /** The ids to continue. */
  readonly prompt: ArrayLike<number>;
  /** The maximum number of tokens to add. */
  readonly length: number;
  /** The client of the request. */
  readonly client: string;
  /** How ids are drawn. */
  readonly sampling: SamplingOptions;
  /** The random stream to draw with. */
  readonly random: RandomState;
  /** The number of likeliest ids returned with each token; undefined: not even its own probability. */
  readonly logprobs: number | undefined;
  /** All ids drawn so far. */
  readonly ids: number[] = [];
  /** The number of `ids` that the model has read; it reads those again whose keys and values it lost. */
  read = 0;
  /** The number of the prompt's tokens that were known from earlier prompts. */
  cachedTokens = 0;
  /** Why it ended; undefined while it runs. */
  finishReason: FinishReason | undefined;
  readonly #stopIds: ReadonlySet<number>;
  readonly #onCancel: (sequence: Sequence) => void;
  readonly #unread: GeneratedToken[] = [];
  #error: unknown;
  #wake = Promise.withResolvers<void>();

  /** Wraps a request whose `length` is known; `onCancel` is called when nobody wants it any more. */
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

  /** True once the sequence has ended or failed. */
  get done(): boolean {
    return this.finishReason !== undefined || this.#error !== undefined;
  }

  /** The number of tokens that may still be drawn. */
  get left(): number {
    return this.length - this.ids.length;
  }

  /** True while the model reads ids again that it had read before, so that nothing is drawn. */
  get replays(): boolean {
    return this.read + 1 < this.ids.length;
  }

  /** Ends the sequence early; does nothing once it is done. */
  cancel(): void {
    if (this.done) return;
    this.#finish("cancelled");
    this.#onCancel(this);
  }

  /** Adds a token, and ends the sequence if it is the last. */
  push(token: GeneratedToken): void {
    this.ids.push(token.id);
    this.#unread.push(token);
    if (this.#stopIds.has(token.id)) this.#finish("stop");
    else if (this.left === 0) this.#finish("length");
    else this.#notify();
  }

  /** Ends the sequence with an error. */
  fail(error: unknown): void {
    if (this.done) return;
    this.#error = error ?? new Error("Engine: a sequence failed");
    this.#notify();
  }

  /** Yields the tokens as they are drawn, to a single reader. */
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
