/**
 * The sampling loop: one token for every sequence at a time, fed back on the device and read in blocks.
 *
 * @module
 */
import { yieldToEventLoop } from "../device/event_loop.ts";
import { writeRows } from "../../kernels/indexing/write_rows.ts";
import type { TypedArray } from "../device/dtype.ts";
import type { KeyValueCache } from "../nn/key_value_cache.ts";
import { checkSampling, sample, type SamplingOptions } from "../ops/sampling.ts";
import { reshape } from "../ops/shape.ts";
import { constant, tensor } from "../tensor/create.ts";
import type { RandomState } from "../tensor/random.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import { checkedLength, checkPrompts, type NextTokenModel } from "./next_token_model.ts";
import { readPrompts, repeatRows } from "./read_prompts.ts";

/** Options of every function that continues prompts by sampling. */
export interface TokenOptions extends SamplingOptions {
  /** The maximum number of tokens to add to a sequence. Default: what is left of the context. */
  readonly length?: number;
  /**
   * The random stream to draw from, as in all operations: `new RandomState(seed)` gives the same ids each time. Default:
   * the shared one, which `manualSeed` seeds.
   */
  readonly random?: RandomState | undefined;
  /**
   * What happens to sequences longer than the context: `"error"` throws before anything is read; `"slide"` drops the
   * older half whenever the context is full and reads the rest again. Default: `"error"`.
   */
  readonly overflow?: "error" | "slide";
  /** Aborting it ends the work, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The maximum number of tokens drawn before the ids are read, on devices where reading waits for the device. */
const LONGEST_BLOCK = 16;

/**
 * Yields the next id of every sequence, step by step, until `length` or until the caller stops. There are `samples`
 * sequences for each prompt, side by side. `op` begins the error messages.
 */
export async function* tokenSteps(
  op: string,
  model: NextTokenModel,
  prompts: readonly ArrayLike<number>[],
  samples: number,
  options: TokenOptions,
): AsyncGenerator<TypedArray, void, void> {
  const length = checkSteps(op, model, prompts, options);
  if (!(Number.isInteger(samples) && samples >= 1)) {
    throw new RangeError(`${op}: expected samples of 1 or more but got ${samples}`);
  }
  if (prompts.length === 0) return;
  using sequences = new Sequences(model, prompts, options, { samples });
  yield* sequences.draw(op, length);
}

/**
 * Checks prompts and options, and returns the maximum number of tokens to add to each prompt. Errors call a prompt
 * `what`.
 */
export function checkSteps(
  op: string,
  model: NextTokenModel,
  prompts: readonly ArrayLike<number>[],
  options: TokenOptions,
  what?: string,
): number {
  const { vocabSize } = model.config;
  checkPrompts(op, prompts, vocabSize);
  checkSampling(op, options, vocabSize);
  return checkedLength(op, model, prompts, options.length, {
    slides: options.overflow === "slide",
    ...(what && { what }),
  });
}

/** The sequences of a batch: the ids read so far on the host, and what continues them on the device. */
export class Sequences implements Disposable {
  readonly #model: NextTokenModel;
  readonly #options: TokenOptions;
  readonly #samples: number;
  readonly #cache: KeyValueCache;
  readonly #ownsCache: boolean;
  /** The ids of each sequence that were given or read, starting with the one at the cache's first position. */
  readonly known: number[][];
  /**
   * For the repetition penalty: 1 for the ids that each sequence already has (B, V), and the 1 to write for the next id
   * (B).
   */
  #seen: Tensor | undefined;
  #one: Tensor | undefined;
  /** The ids drawn last, (B, 1). */
  #last: Tensor | undefined;

  /**
   * Creates `samples` sequences for each prompt. With a `cache`, which the caller keeps, there is one prompt, and the
   * cache holds its beginning.
   */
  constructor(
    model: NextTokenModel,
    prompts: readonly ArrayLike<number>[],
    options: TokenOptions,
    { samples = 1, cache }: { samples?: number; cache?: KeyValueCache },
  ) {
    this.#model = model;
    this.#options = options;
    this.#samples = samples;
    this.known = prompts.flatMap((prompt) =>
      Array.from({ length: samples }, () => Array.from(prompt))
    );
    this.#cache = cache ?? model.createCache(prompts.length);
    this.#ownsCache = !cache;
    if ((options.repetitionPenalty ?? 1) !== 1) {
      const { vocabSize } = model.config;
      const seen = new Int32Array(this.known.length * vocabSize);
      this.known.forEach((ids, row) => ids.forEach((id) => seen[row * vocabSize + id] = 1));
      const shape = [this.known.length, vocabSize];
      const { device } = model;
      this.#seen = tensor(seen, { shape, device }).keep();
      this.#one = constant(device, [this.known.length], 1, "i32").keep();
    }
  }

  /** Draws `length` ids for every sequence, and yields those of each step as they are read. */
  async *draw(op: string, length: number): AsyncGenerator<TypedArray, void, void> {
    let block = 1;
    for (let made = 0; made < length;) {
      const drawn: Tensor[] = [];
      try {
        do {
          this.#options.signal?.throwIfAborted();
          drawn.push(this.#step());
        } while (drawn.length < block && made + drawn.length < length && !this.#full);
        for (const ids of await readTensors(drawn)) {
          const row = ids.findIndex((id) => id < 0);
          if (row >= 0) {
            throw new Error(
              `${op}: expected finite scores but got only NaN for sequence ${row}; the weights may be damaged`,
            );
          }
          this.known.forEach((known, row) => known.push(ids[row]!));
          yield ids;
        }
      } finally {
        for (const ids of drawn) ids.dispose();
      }
      made += drawn.length;
      // What is drawn after the end of a sequence is wasted: blocks start small, as a text may be short.
      if (this.#model.device.kind !== "cpu") block = Math.min(2 * block, LONGEST_BLOCK);
      await yieldToEventLoop();
    }
  }

  /** True if the next step drops the older half, for which everything drawn must have been read. */
  get #full(): boolean {
    return this.#cache.length >= this.#model.config.maxPositionEmbeddings;
  }

  /** Draws the next id of every sequence, (B). The caller disposes of it. */
  #step(): Tensor {
    return noGrad(() =>
      scoped(() => {
        this.#mark();
        const ids = sample(this.#logits(), { ...this.#options, seen: this.#seen }).keep();
        this.#last?.dispose();
        this.#last = reshape(ids, [ids.size, 1]).keep();
        return ids;
      })
    );
  }

  /** Returns the scores of the next tokens. */
  #logits(): Tensor {
    const cache = this.#cache;
    if (this.#last && !this.#full) return this.#model.nextLogits(this.#last, { cache });
    const { maxPositionEmbeddings: contextSize } = this.#model.config;
    const half = Math.ceil(contextSize / 2);
    if (this.#last) {
      this.#forget(half);
      return readPrompts(this.#model, cache, this.known);
    }
    const longest = Math.max(...this.known.map((ids) => ids.length));
    if (longest > contextSize) {
      // What the cache does not hold is new, and is kept as far as it fits.
      this.#forget(cache.length ? Math.max(half, longest - cache.length) : contextSize);
      this.#forget(contextSize);
    }
    const first = this.known.filter((_, row) => row % this.#samples === 0)
      .map((ids) => ids.slice(cache.length));
    return repeatRows(readPrompts(this.#model, cache, first), cache, this.#samples);
  }

  /** Empties the cache and keeps the newest ids, at most `length` of each sequence. */
  #forget(length: number): void {
    this.#cache.clear();
    for (const ids of this.known) ids.splice(0, Math.max(0, ids.length - length));
  }

  /** Marks the id drawn last in each sequence as seen. */
  #mark(): void {
    if (!this.#seen || !this.#one || !this.#last) return;
    const [batch, capacity] = this.#seen.shape as [number, number];
    const bindings = { x: this.#one, positions: this.#last, y: this.#seen };
    this.#model.device.launch(writeRows, bindings, {
      batch,
      time: 1,
      width: 1,
      capacity,
      position: 0,
    });
  }

  [Symbol.dispose](): void {
    if (this.#ownsCache) this.#cache.dispose();
    for (const owned of [this.#seen, this.#one, this.#last]) owned?.dispose();
  }
}
