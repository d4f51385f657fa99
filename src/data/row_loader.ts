// Batches of prepared rows, in a new order in each epoch.
import type { TuningExample } from "./examples.ts";
import { type Batch, type BatchLoader, hashLengths, type TokenLoaderState } from "./loader.ts";
import { shuffledOrder } from "./shuffled_order.ts";

/** Targets of this value do not count, as in `crossEntropy`. */
export const IGNORED = -100;

/** Options of {@linkcode RowLoader}. */
export interface RowLoaderOptions {
  /** The number of rows in a batch, B. */
  readonly batchSize: number;
  /** The number of tokens in a sequence, T; shorter ones are padded. */
  readonly contextSize: number;
  /**
   * Whether the sequences of a row share T tokens: they follow one another, and batches have the position of each token
   * in its sequence. Default: each sequence has T tokens of its own, and each row has equally many.
   */
  readonly pack?: boolean | undefined;
  /** The seed of the order, which depends on it and the epoch. Default: the order in which the rows were given. */
  readonly seed?: number | undefined;
}

/**
 * Returns rows batch after batch, epoch after epoch. A row is one sequence, or several side by side, the same number in
 * each row: with S sequences, inputs and targets are (B, S T). With `pack`, a row has any number of sequences, and is (B,
 * T). Targets that are not learned, and those of padding, are -100.
 *
 * @example
 * ```ts
 * import { RowLoader } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const row = { ids: Int32Array.of(5, 6, 7), learned: Uint8Array.of(0, 0, 1) };
 * const loader = new RowLoader([[row]], { batchSize: 1, contextSize: 4 });
 * const { inputs, targets } = await loader.next();
 * assert.deepEqual([...inputs], [5, 6, 0, 0]);
 * assert.deepEqual([...targets], [-100, 7, -100, -100]);
 * ```
 */
export class RowLoader implements BatchLoader {
  /** The number of rows in a batch, B. */
  readonly batchSize: number;
  /** The number of tokens in a row, S T. */
  readonly contextSize: number;
  readonly #rows: readonly (readonly TuningExample[])[];
  readonly #seed: number | undefined;
  readonly #pack: boolean;
  readonly #corpus: Pick<TokenLoaderState, "corpusTokens" | "corpusHash">;
  #position = 0;
  #order: { epoch: number; rows: Uint32Array } | undefined;

  /** Throws a `RangeError` if there are no rows, or sequences of more than T + 1 tokens. */
  constructor(rows: readonly (readonly TuningExample[])[], options: RowLoaderOptions) {
    const { batchSize, contextSize, seed, pack = false } = options;
    const lengths = rows.flatMap((row) => row.map(({ ids }) => ids.length));
    if (rows.length === 0) throw new RangeError("RowLoader: expected rows but got none");
    const longest = lengths.reduce((a, b) => Math.max(a, b));
    if (longest > contextSize + 1) {
      throw new RangeError(
        `RowLoader: expected sequences of at most ${contextSize + 1} tokens but got ${longest}`,
      );
    }
    const read = (row: readonly TuningExample[]) =>
      row.reduce((sum, { ids }) => sum + ids.length - 1, 0);
    const overfull = pack ? rows.find((row) => read(row) > contextSize) : undefined;
    if (overfull) {
      throw new RangeError(
        `RowLoader: expected rows of at most ${contextSize} tokens but got ${read(overfull)}`,
      );
    }
    this.batchSize = batchSize;
    this.contextSize = pack ? contextSize : rows[0]!.length * contextSize;
    this.#pack = pack;
    this.#rows = rows;
    this.#seed = seed;
    this.#corpus = {
      corpusTokens: lengths.reduce((a, b) => a + b),
      corpusHash: hashLengths(lengths),
    };
  }

  /** The number of tokens in a batch, including padding. */
  get batchTokens(): number {
    return this.batchSize * this.contextSize;
  }

  /** Returns the next batch, in arrays that the caller may keep. It has `rows` rows, by default B. */
  next(rows?: number): Promise<Batch> {
    const count = rows ?? this.batchSize;
    const inputs = new Int32Array(count * this.contextSize);
    const targets = new Int32Array(count * this.contextSize).fill(IGNORED);
    const positions = new Int32Array(count * this.contextSize);
    for (let i = 0; i < count; i++) {
      const sequences = this.#rowAt(this.#position++);
      let start = i * this.contextSize;
      for (const { ids, learned } of sequences) {
        for (let t = 1; t < ids.length; t++) {
          inputs[start + t - 1] = ids[t - 1]!;
          positions[start + t - 1] = t - 1;
          if (learned[t]) targets[start + t - 1] = ids[t]!;
        }
        start += this.#pack ? ids.length - 1 : this.contextSize / sequences.length;
      }
    }
    return Promise.resolve({ inputs, targets, ...this.#pack && { positions } });
  }

  /** Moves to a position, in tokens over all epochs, including padding: the beginning of a row. */
  seek(position: number): void {
    this.#position = Math.floor(position / this.contextSize);
  }

  /** Returns the position of the loader, for a checkpoint. */
  state(): TokenLoaderState {
    const seed = this.#seed === undefined ? {} : { seed: this.#seed };
    return { ...this.#corpus, position: this.#position * this.contextSize, ...seed };
  }

  /** Moves to the position of a loader of the same rows. Throws a `RangeError` for other rows, or another seed. */
  restore({ corpusTokens, corpusHash, position, seed }: TokenLoaderState): void {
    const own = this.#corpus;
    if (
      corpusTokens !== own.corpusTokens || corpusHash !== own.corpusHash || seed !== this.#seed
    ) {
      throw new RangeError(
        `RowLoader: expected the position in the same ${this.#rows.length} rows with ${own.corpusTokens} tokens ` +
          `but got one in others, with ${corpusTokens} tokens`,
      );
    }
    this.seek(position);
  }

  /** Does nothing: there is nothing to close. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  #rowAt(position: number): readonly TuningExample[] {
    const { length } = this.#rows;
    const [epoch, index] = [Math.floor(position / length), position % length];
    if (this.#seed === undefined) return this.#rows[index]!;
    if (this.#order?.epoch !== epoch) {
      this.#order = { epoch, rows: shuffledOrder(length, this.#seed, epoch) };
    }
    return this.#rows[this.#order.rows[index]!]!;
  }
}
