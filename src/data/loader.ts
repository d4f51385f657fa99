// The training data's walk: batch after batch through the shards in order, as build-nanogpt walks
// them, but with the shards taken as one endless ring of tokens, so that no token is skipped or
// repeated where one shard ends and the next begins.
import { memoryShard, openShard, type TokenArray, type TokenSource } from "./shards.ts";
import { shuffledOrder } from "./shuffled_order.ts";
import { ShuffledShard } from "./shuffled_shard.ts";

/** One batch: what the model reads, and the token that follows each of them. */
export interface Batch {
  /** Token ids, `batchSize` rows of `contextSize`, row-major. */
  inputs: Int32Array;
  /** The token after each of `inputs`, in the same layout. */
  targets: Int32Array;
}

/** Options of {@linkcode TokenLoader.open}. */
export interface TokenLoaderOptions {
  /** Rows of a batch, B. */
  batchSize: number;
  /** Tokens of a row, T. */
  contextSize: number;
  /** Size of the vocabulary; an id at or above it is an error. Not checked where left out. */
  vocabSize?: number | undefined;
  /** Another order of shards, and of the documents in each, in every epoch. In order where left out. */
  shuffle?: ShuffleOptions | undefined;
}

/** How a {@linkcode TokenLoader} shuffles. */
export interface ShuffleOptions {
  /** The order depends on this and the epoch alone. */
  seed: number;
  /** The token that every document begins with: 50256 for GPT-2's `<|endoftext|>`. */
  separator: number;
}

/** Where a loader stands, as JSON keeps it. */
export interface TokenLoaderState {
  /** Tokens of the whole corpus, to notice that the data is not the same. */
  corpusTokens: number;
  /** A hash of the shards' lengths in order, to the same end. */
  corpusHash: string;
  /** Tokens that came before, over all epochs; where several processes share the data, those of all. */
  position: number;
  /** The seed of the shuffled order; not there for the shards' own. */
  seed?: number;
}

/** The shards as one epoch walks them. */
interface Walk {
  readonly epoch: number;
  readonly sources: readonly TokenSource[];
  /** Where each begins in the epoch. */
  readonly starts: readonly number[];
}

/** Batches of equal size without end, and where they stand: a {@linkcode TokenLoader}, or a `RowLoader`. */
export type BatchLoader = Pick<
  TokenLoader,
  "batchSize" | "contextSize" | "batchTokens" | "next" | "seek" | "state" | "restore" | "close"
>;

/**
 * Walks token shards in order and hands out batches. Inputs of one batch after the other are exactly
 * the corpus, again and again: a batch may span shards, and the one that reaches the end goes on at
 * the beginning. While a batch is in use, the next is read in the background. A shuffled loader does the
 * same with the shards of each epoch in an order of its own.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { TokenLoader } from "@dinograd/dinograd";
 *
 * const tokens = Uint16Array.of(0, 1, 2, 3, 4, 5, 6);
 * await using loader = await TokenLoader.open(tokens, { batchSize: 2, contextSize: 2 });
 * const { inputs, targets } = await loader.next();
 * assert.deepEqual([...inputs], [0, 1, 2, 3]);
 * assert.deepEqual([...targets], [1, 2, 3, 4]);
 * const state = loader.state();
 * assert.deepEqual([...(await loader.next()).inputs], [4, 5, 6, 0]);
 * loader.restore(state);
 * assert.deepEqual([...(await loader.next()).inputs], [4, 5, 6, 0]);
 * ```
 */
export class TokenLoader implements AsyncDisposable {
  /** Rows of a batch, B. */
  readonly batchSize: number;
  /** Tokens of a row, T. */
  readonly contextSize: number;
  /** Tokens of the whole corpus, all shards together. */
  readonly corpusTokens: number;
  /** The shards in order: names and lengths. */
  readonly shards: readonly Pick<TokenSource, "name" | "length">[];

  #sources: readonly TokenSource[];
  #shuffle: ShuffleOptions | undefined;
  #walk: Walk;
  #corpusHash: string;
  #vocabSize: number;
  #position = 0;
  #ahead: { position: number; rows: number; batch: Promise<Batch> } | undefined;
  #openSource: TokenSource | undefined;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(sources: readonly TokenSource[], options: TokenLoaderOptions) {
    const { batchSize, contextSize, vocabSize = Infinity } = options;
    for (const [name, value] of Object.entries({ batchSize, contextSize })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new RangeError(
          `TokenLoader: expected an integer ${name} of 1 or more but got ${value}`,
        );
      }
    }
    this.batchSize = batchSize;
    this.contextSize = contextSize;
    this.shards = this.#sources = sources;
    this.#vocabSize = vocabSize;
    this.#shuffle = options.shuffle;
    this.#walk = this.#walkOf(0);
    let total = 0;
    for (const source of sources) {
      if (source.length === 0) throw new RangeError(`${source.name}: expected tokens but got none`);
      total += source.length;
    }
    if (total < 2) {
      throw new RangeError(`TokenLoader: expected at least 2 tokens of data but got ${total}`);
    }
    this.corpusTokens = total;
    this.#corpusHash = hashLengths(sources.map((source) => source.length));
  }

  /**
   * Opens a loader on shards, given by paths (see `findShards`) or as sources, or on tokens in
   * memory. It stands at the first token.
   *
   * @throws {FileFormatError} where a shard is foreign, cut short or empty
   * @throws {RangeError} where an option is out of range or there are fewer than two tokens
   */
  static async open(
    data: TokenArray | readonly (string | URL | TokenSource)[],
    options: TokenLoaderOptions,
  ): Promise<TokenLoader> {
    if (ArrayBuffer.isView(data)) return new TokenLoader([memoryShard(data)], options);
    const sources: TokenSource[] = [];
    for (const shard of data) {
      const isPath = typeof shard === "string" || shard instanceof URL;
      sources.push(isPath ? await openShard(shard) : shard);
    }
    return new TokenLoader(sources, options);
  }

  /** Tokens of a batch: `batchSize * contextSize`. */
  get batchTokens(): number {
    return this.batchSize * this.contextSize;
  }

  /** How often the data has been gone through, as an integer; 0 at the beginning. */
  get epoch(): number {
    return Math.floor(this.#position / this.corpusTokens);
  }

  /** Tokens between the beginning of the first epoch and the next batch. */
  get position(): number {
    return this.#position;
  }

  /**
   * The next batch, in arrays that are the caller's to keep; of `rows` rows, where another number than `batchSize` is wanted.
   *
   * @throws {RangeError} where a token id is not below `vocabSize`; the message names shard and index
   * @throws {FileFormatError} where a shard can no longer be read
   */
  async next(rows?: number): Promise<Batch> {
    rows ??= this.batchSize;
    const position = this.#position;
    this.#position += rows * this.contextSize;
    const isRead = this.#ahead?.position === position && this.#ahead.rows === rows;
    const batch = isRead ? this.#ahead!.batch : this.#load(position, rows);
    // Awaited in turn by a later call, which is where a failure belongs.
    const ahead = this.#load(this.#position, rows);
    ahead.catch(() => {});
    this.#ahead = { position: this.#position, rows, batch: ahead };
    return await batch;
  }

  /**
   * Goes to a position, in tokens over all epochs: where processes share the data, each goes to its own part of a step and
   * then to the end of the step.
   *
   * @throws {RangeError} for a position that is no integer of 0 or more
   */
  seek(position: number): void {
    if (!Number.isSafeInteger(position) || position < 0) {
      throw new RangeError(
        `TokenLoader: expected an integer position of 0 or more but got ${position}`,
      );
    }
    this.#position = position;
  }

  /** Where the loader stands, for a checkpoint: the batch that `next()` gives next. */
  state(): TokenLoaderState {
    return {
      corpusTokens: this.corpusTokens,
      corpusHash: this.#corpusHash,
      position: this.#position,
      ...this.#shuffle && { seed: this.#shuffle.seed },
    };
  }

  /**
   * Goes to where a loader on the same data stood when `state()` was called. Batch and context size
   * may be others.
   *
   * @throws {RangeError} for an invalid state, or one that was saved on other data
   */
  restore(state: TokenLoaderState): void {
    const { corpusTokens, corpusHash, position, seed } = state ?? {};
    if (corpusTokens !== this.corpusTokens || corpusHash !== this.#corpusHash) {
      throw new RangeError(
        `TokenLoader: expected the position of a loader on the same ${this.shards.length} shards with ` +
          `${this.corpusTokens} tokens but got one on ${corpusTokens} tokens (${corpusHash}, here ` +
          `${this.#corpusHash})`,
      );
    }
    if (seed !== this.#shuffle?.seed) {
      const order = (seed: number | undefined) =>
        seed === undefined ? "in order" : `shuffled by ${seed}`;
      throw new RangeError(
        `TokenLoader: expected the position of a loader whose data is ${
          order(this.#shuffle?.seed)
        } but got one ${order(seed)}`,
      );
    }
    this.seek(position);
  }

  /** Closes the shards, once the read that may still be under way has ended. */
  async close(): Promise<void> {
    this.#ahead = undefined;
    await this.#last;
    this.#openSource?.close();
    this.#openSource = undefined;
  }

  /** Closes the shards at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #load(position: number, rows: number): Promise<Batch> {
    const load = this.#last.then(() => this.#read(position, rows * this.contextSize));
    this.#last = load.catch(() => {});
    return load;
  }

  async #read(position: number, count: number): Promise<Batch> {
    const tokens = new Int32Array(count + 1); // one more: the last target
    for (let filled = 0; filled < tokens.length;) {
      const at = (position + filled) % this.corpusTokens;
      const epoch = Math.floor((position + filled) / this.corpusTokens);
      if (this.#shuffle && epoch !== this.#walk.epoch) this.#walk = this.#walkOf(epoch);
      const { sources, starts } = this.#walk;
      const index = lastAtMost(starts, at);
      const source = sources[index]!;
      const start = at - starts[index]!;
      const some = Math.min(source.length - start, tokens.length - filled);
      if (this.#openSource !== source) this.#openSource?.close();
      this.#openSource = source;
      const part = await source.read(start, some);
      this.#checkIds(part, source.name, start);
      tokens.set(part, filled);
      filled += some;
    }
    return { inputs: tokens.slice(0, -1), targets: tokens.slice(1) };
  }

  #walkOf(epoch: number): Walk {
    const shuffle = this.#shuffle;
    const sources = shuffle
      ? [...shuffledOrder(this.#sources.length, shuffle.seed, epoch)].map((index) =>
        // a seed for each epoch and shard
        new ShuffledShard(
          this.#sources[index]!,
          shuffle.separator,
          shuffle.seed + 1 + epoch * this.#sources.length + index,
        )
      )
      : this.#sources;
    let start = 0;
    const starts = sources.map(({ length }) => (start += length) - length);
    return { epoch, sources, starts };
  }

  #checkIds(tokens: TokenArray, name: string, start: number): void {
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i]! >= this.#vocabSize || tokens[i]! < 0) {
        throw new RangeError(
          `${name}: expected ids below the vocabulary's ${this.#vocabSize} but got ${
            tokens[i]
          } as token ` +
            `${start + i}`,
        );
      }
    }
  }
}

/** Index of the last of ascending `starts` that is not above `at`. */
function lastAtMost(starts: readonly number[], at: number): number {
  let low = 0;
  for (let high = starts.length; high - low > 1;) {
    const middle = (low + high) >> 1;
    if (starts[middle]! <= at) low = middle;
    else high = middle;
  }
  return low;
}

/** FNV-1a over the lengths; not for security, only to notice that shards were added or swapped. */
export function hashLengths(lengths: readonly number[]): string {
  let hash = 0x811c9dc5;
  for (const char of lengths.join(",")) {
    hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}
