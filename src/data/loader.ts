// Loads training data batch after batch through the shards in order, as build-nanogpt does, but treats the shards as
// one endless ring of tokens, so that no token is skipped or repeated where one shard ends and the next begins.
import { memoryShard, openShard, type TokenArray, type TokenSource } from "./shards.ts";
import { shuffledOrder } from "./shuffled_order.ts";
import { ShuffledShard } from "./shuffled_shard.ts";

/** A batch: the tokens that the model reads, and the token that follows each of them. */
export interface Batch {
  /** Token ids, `batchSize` rows of `contextSize`, row-major. */
  inputs: Int32Array;
  /** The token after each of `inputs`, in the same layout. */
  targets: Int32Array;
  /** The position of each of `inputs` in its document, if rows consist of several. */
  positions?: Int32Array;
}

/** Options of {@linkcode TokenLoader.open}. */
export interface TokenLoaderOptions {
  /** The number of rows in a batch, B. */
  batchSize: number;
  /** The number of tokens in a row, T. */
  contextSize: number;
  /** The size of the vocabulary; an id at or above it is an error. Default: not checked. */
  vocabSize?: number | undefined;
  /** Shuffles the shards, and the documents in each, in every epoch. Default: in order. */
  shuffle?: ShuffleOptions | undefined;
  /**
   * The token that begins every document: batches have the position of each token in its document, or in the part of it
   * that a row begins with. Default: a row is one document, and batches have no positions.
   */
  documentSeparator?: number | undefined;
}

/** How a {@linkcode TokenLoader} shuffles. */
export interface ShuffleOptions {
  /** The seed; the order depends only on it and the epoch. */
  seed: number;
  /** The token that begins every document: 50256 for GPT-2's `<|endoftext|>`. */
  separator: number;
}

/** The position of a loader, which can be stored as JSON. */
export interface TokenLoaderState {
  /** The number of tokens in the whole corpus, to detect different data. */
  corpusTokens: number;
  /** A hash of the shards' lengths in order, for the same purpose. */
  corpusHash: string;
  /** The number of tokens before the position, over all epochs; if several processes share the data, those of all. */
  position: number;
  /** The seed of the shuffled order; absent if the shards are in order. */
  seed?: number;
}

/** The shards in the order of one epoch. */
interface Walk {
  readonly epoch: number;
  readonly sources: readonly TokenSource[];
  /** The position in the epoch where each shard begins. */
  readonly starts: readonly number[];
}

/** An endless source of batches of equal size, with a position: a {@linkcode TokenLoader} or a `RowLoader`. */
export type BatchLoader = Pick<
  TokenLoader,
  "batchSize" | "contextSize" | "batchTokens" | "next" | "seek" | "state" | "restore" | "close"
>;

/**
 * Reads token shards in order and returns batches. The inputs of successive batches are exactly the corpus, over and
 * over: a batch may span shards, and one that reaches the end continues at the beginning. While a batch is in use, the
 * next is read in the background. A shuffled loader does the same with the shards of each epoch in a new order.
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
  /** The number of rows in a batch, B. */
  readonly batchSize: number;
  /** The number of tokens in a row, T. */
  readonly contextSize: number;
  /** The number of tokens in the whole corpus. */
  readonly corpusTokens: number;
  /** The names and lengths of the shards in order. */
  readonly shards: readonly Pick<TokenSource, "name" | "length">[];

  #sources: readonly TokenSource[];
  #shuffle: ShuffleOptions | undefined;
  #documentSeparator: number | undefined;
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
    this.#documentSeparator = options.documentSeparator;
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
   * Opens a loader on shards, given by paths (see `findShards`) or as sources, or on tokens in memory. It starts at the
   * first token.
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

  /** The number of tokens in a batch: `batchSize * contextSize`. */
  get batchTokens(): number {
    return this.batchSize * this.contextSize;
  }

  /** The number of complete passes through the data; 0 at the beginning. */
  get epoch(): number {
    return Math.floor(this.#position / this.corpusTokens);
  }

  /** The number of tokens between the beginning of the first epoch and the next batch. */
  get position(): number {
    return this.#position;
  }

  /**
   * Returns the next batch, in arrays that the caller may keep. It has `rows` rows, by default `batchSize`.
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
    // Awaited by a later call, which is where a failure belongs.
    const ahead = this.#load(this.#position, rows);
    ahead.catch(() => {});
    this.#ahead = { position: this.#position, rows, batch: ahead };
    return await batch;
  }

  /**
   * Moves to a position, in tokens over all epochs: processes that share the data each move to their part of a step and
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

  /** Returns the position of the loader for a checkpoint: that of the batch that `next()` returns next. */
  state(): TokenLoaderState {
    return {
      corpusTokens: this.corpusTokens,
      corpusHash: this.#corpusHash,
      position: this.#position,
      ...this.#shuffle && { seed: this.#shuffle.seed },
    };
  }

  /**
   * Moves to the position at which a loader on the same data was when `state()` was called. Batch and context size may
   * differ.
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

  /** Closes the shards, once any read in progress has ended. */
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
    const inputs = tokens.slice(0, -1), targets = tokens.slice(1);
    if (this.#documentSeparator === undefined) return { inputs, targets };
    const positions = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      const begins = i % this.contextSize === 0 || inputs[i] === this.#documentSeparator;
      positions[i] = begins ? 0 : positions[i - 1]! + 1;
    }
    return { inputs, targets, positions };
  }

  #walkOf(epoch: number): Walk {
    const shuffle = this.#shuffle;
    const sources = shuffle
      ? [...shuffledOrder(this.#sources.length, shuffle.seed, epoch)].map((index) =>
        // each epoch and shard has its own seed
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

/** Returns the index of the last of the ascending `starts` that is not above `at`. */
function lastAtMost(starts: readonly number[], at: number): number {
  let low = 0;
  for (let high = starts.length; high - low > 1;) {
    const middle = (low + high) >> 1;
    if (starts[middle]! <= at) low = middle;
    else high = middle;
  }
  return low;
}

/** FNV-1a over the lengths; not for security, only to detect that shards were added or swapped. */
export function hashLengths(lengths: readonly number[]): string {
  let hash = 0x811c9dc5;
  for (const char of lengths.join(",")) {
    hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}
