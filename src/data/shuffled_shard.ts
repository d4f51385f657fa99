// A shard whose documents are shuffled.
import { shuffledOrder } from "./shuffled_order.ts";
import type { TokenArray, TokenSource } from "./shards.ts";

/**
 * The documents of a shard, shuffled by `seed`. A document begins with the token `separator`, such as `<|endoftext|>`.
 * Tokens before the first one stay at the beginning, and a document that continues in the next shard is cut. The whole
 * shard is in memory from the first read to `close()`: 200 MB for 100 million tokens.
 */
export class ShuffledShard implements TokenSource {
  readonly name: string;
  readonly length: number;
  readonly #source: TokenSource;
  readonly #separator: number;
  readonly #seed: number;
  #tokens: TokenArray | undefined;

  constructor(source: TokenSource, separator: number, seed: number) {
    this.name = source.name;
    this.length = source.length;
    this.#source = source;
    this.#separator = separator;
    this.#seed = seed;
  }

  async read(start: number, count: number): Promise<TokenArray> {
    if (this.#tokens === undefined) {
      const tokens = await this.#source.read(0, this.length);
      this.#source.close();
      this.#tokens = this.#shuffle(tokens);
    }
    return this.#tokens.subarray(start, start + count);
  }

  close(): void {
    this.#tokens = undefined;
    this.#source.close();
  }

  #shuffle(tokens: TokenArray): TokenArray {
    const starts: number[] = [];
    for (let i = tokens.indexOf(this.#separator); i >= 0;) {
      starts.push(i);
      i = tokens.indexOf(this.#separator, i + 1);
    }
    if (starts.length < 2) return tokens;
    const shuffled = tokens.slice();
    let at = starts[0]!;
    for (const document of shuffledOrder(starts.length, this.#seed, 0)) {
      const part = tokens.subarray(starts[document], starts[document + 1] ?? tokens.length);
      shuffled.set(part, at);
      at += part.length;
    }
    return shuffled;
  }
}
