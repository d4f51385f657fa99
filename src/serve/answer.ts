/**
 * The text of a sequence, as it is drawn.
 *
 * @module
 */
import { StopStrings } from "../decode/stop_strings.ts";
import { StreamDecoder, type Tokenizer } from "../tokenizer/tokenizer.ts";
import type { EngineSequence, GeneratedToken } from "./sequence.ts";

/** A token of an answer. */
export interface AnswerToken extends GeneratedToken {
  /** The number of characters (code points) of the answer before it. */
  readonly offset: number;
}

/** A piece of text, and the tokens it came from. */
export interface Piece {
  /** The text. */
  readonly text: string;
  /** Its tokens, including those before it that gave no text. */
  readonly tokens: readonly AnswerToken[];
}

/** What ends an answer. */
export interface AnswerEnds {
  /** Strings before which the answer ends. */
  readonly stop: readonly string[];
  /** Ids at which the answer ends; they give no text. */
  readonly stopIds: ReadonlySet<number>;
}

/** The text of a sequence up to a stop string or stop id, in pieces as they come, and then why it ended. */
export class Answer {
  /** The number of tokens drawn, including the one that ended the answer. */
  tokens = 0;
  /** Why the answer ended. */
  finishReason: "stop" | "length" = "length";
  readonly #sequence: EngineSequence;
  readonly #tokenizer: Tokenizer;
  readonly #ends: AnswerEnds;

  /** Wraps a sequence of the engine. */
  constructor(sequence: EngineSequence, tokenizer: Tokenizer, ends: AnswerEnds) {
    this.#sequence = sequence;
    this.#tokenizer = tokenizer;
    this.#ends = ends;
  }

  /** Yields text in whole characters, without any of a stop string. Leaving the loop early cancels the sequence. */
  async *pieces(): AsyncGenerator<Piece, void, void> {
    const { stop, stopIds } = this.#ends;
    const decoder = new StreamDecoder(this.#tokenizer);
    const filter = new StopStrings(stop);
    let pending: AnswerToken[] = [];
    let offset = 0;
    for await (const token of this.#sequence) {
      this.tokens++;
      if (stopIds.has(token.id)) {
        this.finishReason = "stop";
        break;
      }
      pending.push({ ...token, offset });
      const decoded = decoder.push(token.id);
      for (const _ of decoded) offset++;
      const text = filter.push(decoded);
      if (text) {
        yield { text, tokens: pending };
        pending = [];
      }
      if (filter.found) {
        this.finishReason = "stop";
        return;
      }
    }
    const text = filter.push(decoder.flush()) + filter.flush();
    if (text || pending.length) yield { text, tokens: pending };
  }

  /** Ends the answer early. */
  cancel(): void {
    this.#sequence.cancel();
  }
}

/** Yields what several sources give, each item with the index of its source, as it comes. */
export async function* merged<T>(
  sources: readonly AsyncIterator<T>[],
): AsyncGenerator<[source: number, value: T | undefined], void, void> {
  const next = async (source: number) => ({ source, result: await sources[source]!.next() });
  const waiting = new Map(sources.map((_, source) => [source, next(source)]));
  try {
    while (waiting.size) {
      const { source, result } = await Promise.race(waiting.values());
      if (result.done) waiting.delete(source);
      else waiting.set(source, next(source));
      // The end of a source is yielded too.
      yield [source, result.done ? undefined : result.value];
    }
  } finally {
    for (const one of waiting.values()) one.catch(() => {});
    for (const source of sources) source.return?.()?.catch(() => {});
  }
}
