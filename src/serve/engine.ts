/**
 * Continuous batching (Yu et al. 2022, "Orca"): one model continues many sequences together, which join and leave the
 * running batch at every step.
 *
 * @module
 */
import { checkedLength, checkPrompts, type NextTokenModel } from "../decode/next_token_model.ts";
import { DeviceLostError } from "../device/errors.ts";
import { yieldToEventLoop } from "../device/event_loop.ts";
import type { KeyValueCache } from "../nn/key_value_cache.ts";
import { batchInvariant } from "../ops/matmul.ts";
import { checkSampling, sample } from "../ops/sampling.ts";
import { concat, reshape, slice } from "../ops/shape.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import { FairQueue } from "./fair_queue.ts";
import { PrefixCache } from "./prefix_cache.ts";
import {
  type EngineRequest,
  type EngineSequence,
  type GeneratedToken,
  Sequence,
} from "./sequence.ts";

export type {
  EngineRequest,
  EngineSequence,
  FinishReason,
  GeneratedToken,
  TokenLogprob,
} from "./sequence.ts";

/** Options of {@linkcode Engine}. */
export interface EngineOptions {
  /** The most sequences that are continued together. Default: 32. */
  readonly maxBatch?: number | undefined;
  /** The most sequences that may wait for a place in the batch. Default: 256. */
  readonly maxQueue?: number | undefined;
  /**
   * The most bytes of keys and values, those kept for prompts that begin alike included. Default: 1 GiB, or what one
   * sequence of the model's context takes where that is more.
   */
  readonly cacheBytes?: number | undefined;
  /**
   * Tokens of a prompt that are read at once, between two steps of the batch; and the unit in which beginnings of prompts
   * are kept. Default: 64.
   */
  readonly chunkSize?: number | undefined;
  /** Ids from here on are never drawn, as those that only pad the model's vocabulary. Default: all may be. */
  readonly vocabSize?: number | undefined;
}

/** What an engine does and has done. */
export interface EngineStats {
  /** Sequences in the batch, those whose prompt is being read included. */
  readonly running: number;
  /** Sequences that wait. */
  readonly waiting: number;
  /** Bytes of keys and values, of the batch and of known beginnings of prompts. */
  readonly cacheBytes: number;
  /** Tokens of prompts that were asked for. */
  readonly promptTokens: number;
  /** Of these, tokens whose keys and values were known from earlier prompts. */
  readonly cachedTokens: number;
  /** Tokens that were drawn. */
  readonly generatedTokens: number;
  /** Steps of the batch. */
  readonly steps: number;
  /** Sequences that had to give their place back, and are read anew. */
  readonly preemptions: number;
}

/** Thrown where so many sequences wait that no more are taken. */
export class QueueFullError extends Error {
  /** Always `"QueueFullError"`. */
  override readonly name = "QueueFullError";
}

/** Thrown by an engine that is shut down, or whose device is lost. */
export class EngineClosedError extends Error {
  /** Always `"EngineClosedError"`. */
  override readonly name = "EngineClosedError";
}

/** Steps whose ids are read together where reading makes the device wait. */
const STEPS_PER_READ = 4;

/** Milliseconds that the engine computes before it lets sockets and timers have the thread. */
const TURN_MS = 10;

/** Positions of growth for which there is to be room before a sequence joins. */
const HEADROOM = 64;

/** A sequence whose prompt is being read. */
interface Prefill {
  readonly sequence: Sequence;
  readonly cache: KeyValueCache;
}

/** Ids that were drawn on the device, and the scores of the sequences that want logarithms of probabilities. */
interface Drawn {
  readonly sequences: readonly Sequence[];
  readonly ids: Tensor;
  readonly scores: ReadonlyMap<Sequence, Tensor>;
}

/**
 * Continues sequences of ids for many clients with one model. Prompts are read one after the other in chunks, between
 * steps that give all sequences of the batch a token each.
 *
 * What a sequence gets does not depend on the others, to the last bit: prompts are read alone and in chunks that begin at
 * multiples of `chunkSize`, products of the batch are {@linkcode batchInvariant}, and each sequence has a stream of random
 * numbers of its own. The same holds where the memory is full: a sequence that has to give its place back is read anew by
 * the same steps.
 *
 * @example
 * ```ts
 * import { CpuDevice, Engine, GPT2 } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 20, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * await using engine = new Engine(new GPT2(sizes, { device }));
 * const answers = engine.submit([{ prompt: [1, 2, 3], length: 5, seed: 1 }, { prompt: [4], length: 2 }]);
 * const tokens = await Promise.all(answers.map((answer) => Array.fromAsync(answer)));
 * assert.deepEqual(tokens.map((ids) => ids.length), [5, 2]);
 * assert.equal(answers[0].finishReason, "length");
 * ```
 */
export class Engine implements AsyncDisposable {
  readonly #model: NextTokenModel;
  readonly #options: {
    readonly [K in Exclude<keyof EngineOptions, "vocabSize">]-?: number;
  };
  readonly #vocabSize: number;
  readonly #queue = new FairQueue<Sequence>();
  readonly #jobs: (() => Promise<void>)[] = [];
  readonly #prefixes: PrefixCache;
  #prefill: Prefill | undefined;
  /** The batch: its sequences, and their keys and values in the same order. */
  #batch: Sequence[] = [];
  #cache: KeyValueCache;
  /** The loop, while it runs. */
  #loop: Promise<void> | undefined;
  /** Why nothing more is taken. */
  #closed: EngineClosedError | undefined;
  #counts = { promptTokens: 0, cachedTokens: 0, generatedTokens: 0, steps: 0, preemptions: 0 };

  /** An engine for a model, which stays the caller's. Throws a `RangeError` for an option out of its range. */
  constructor(model: NextTokenModel, options?: EngineOptions) {
    const { maxBatch = 32, maxQueue = 256, chunkSize = 64 } = options ?? {};
    this.#model = model;
    this.#cache = model.createCache(0);
    const context = model.config.maxPositionEmbeddings;
    const { cacheBytes = Math.max(2 ** 30, 2 * this.#cache.bytesFor(1, context)) } = options ?? {};
    for (
      const [name, value, minimum] of [
        ["maxBatch", maxBatch, 1],
        ["maxQueue", maxQueue, 0],
        ["chunkSize", chunkSize, 1],
        ["cacheBytes", cacheBytes, 1],
      ] as const
    ) {
      if (Number.isInteger(value) && value >= minimum) continue;
      throw new RangeError(`Engine: expected a ${name} of ${minimum} or more but got ${value}`);
    }
    this.#options = { maxBatch, maxQueue, chunkSize, cacheBytes };
    this.#vocabSize = Math.min(options?.vocabSize ?? Infinity, model.config.vocabSize);
    this.#prefixes = new PrefixCache(chunkSize);
  }

  /** What it does and has done. */
  get stats(): EngineStats {
    const { size: waiting } = this.#queue;
    const cacheBytes = this.#cache.bytes + this.#prefixes.bytes + (this.#prefill?.cache.bytes ?? 0);
    return { running: this.#taken, waiting, cacheBytes, ...this.#counts };
  }

  /** False once it takes nothing more, as after a shutdown or where the device is lost. */
  get open(): boolean {
    return !this.#closed;
  }

  /**
   * Takes requests, all or none, and gives their sequences, to be iterated over.
   *
   * Throws a `RangeError` as `generate` does, and for a sequence whose keys and values would never fit into
   * `cacheBytes`; a {@linkcode QueueFullError} where more would wait than `maxQueue`, and an {@linkcode EngineClosedError}
   * after a shutdown.
   */
  submit(requests: readonly EngineRequest[]): EngineSequence[] {
    if (this.#closed) throw this.#closed;
    const cancelled = (sequence: Sequence) => this.#queue.remove(sequence);
    const sequences = requests.map((request) =>
      new Sequence({ ...request, length: this.#checkedLength(request) }, cancelled)
    );
    const { maxQueue, maxBatch } = this.#options;
    const places = maxQueue + maxBatch - this.#taken - this.#queue.size;
    if (sequences.length > places) {
      throw new QueueFullError(
        `Engine: expected at most ${maxQueue} sequences that wait but got ${sequences.length} more`,
      );
    }
    for (const sequence of sequences) {
      this.#queue.push(sequence);
      this.#counts.promptTokens += sequence.prompt.length;
    }
    this.#start();
    return sequences;
  }

  /**
   * Runs `work`, which computes with the model, between two steps of the batch. Throws a {@linkcode QueueFullError} where
   * `maxQueue` such jobs wait, and an {@linkcode EngineClosedError} after a shutdown.
   */
  async run<R>(work: () => R | Promise<R>): Promise<R> {
    if (this.#closed) throw this.#closed;
    const { maxQueue } = this.#options;
    if (this.#jobs.length > maxQueue) {
      throw new QueueFullError(
        `Engine: expected at most ${maxQueue} jobs that wait but got 1 more`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    this.#jobs.push(() => Promise.try(work).then(resolve, reject));
    this.#start();
    return await promise;
  }

  /**
   * Takes nothing more, finishes the sequences of the batch, and frees the keys and values. Those that still wait end with
   * an {@linkcode EngineClosedError}.
   */
  async shutdown(): Promise<void> {
    this.#closed ??= new EngineClosedError("Engine: it is shut down");
    for (const sequence of this.#queue.clear()) sequence.fail(this.#closed);
    await this.#loop;
    this.#free();
  }

  /** The same as {@linkcode Engine.shutdown}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** Sequences that have a place in the batch. */
  get #taken(): number {
    const taken = this.#prefill ? [...this.#batch, this.#prefill.sequence] : this.#batch;
    return taken.filter(({ done }) => !done).length;
  }

  #checkedLength({ prompt, length, logprobs = 0, ...sampling }: EngineRequest): number {
    const { vocabSize } = this.#model.config;
    checkPrompts("Engine", [prompt], vocabSize);
    checkSampling("Engine", sampling, vocabSize);
    const made = checkedLength("Engine", this.#model, [prompt], length);
    if (made === 0) throw new RangeError("Engine: expected a length of 1 or more but got 0");
    if (!(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= vocabSize)) {
      throw new RangeError(
        `Engine: expected logprobs from 0 to ${vocabSize} but got ${logprobs}`,
      );
    }
    const longest = prompt.length + made;
    const fresh = this.#model.createCache(0);
    const bytes = fresh.bytesFor(1, longest) + fresh.bytesFor(1, prompt.length);
    const { cacheBytes } = this.#options;
    if (bytes > cacheBytes || !this.#binds(fresh, 1, longest)) {
      throw new RangeError(
        `Engine: expected sequences whose keys and values fit into ${cacheBytes} bytes but got one of ` +
          `${longest} tokens, which takes ${bytes}`,
      );
    }
    return made;
  }

  /** Starts the loop where it does not run. */
  #start(): void {
    this.#loop ??= this.#run();
  }

  /** Runs until there is nothing to do. */
  async #run(): Promise<void> {
    // The caller gets its sequences first.
    await Promise.resolve();
    while (this.#batch.length || this.#prefill || this.#queue.size || this.#jobs.length) {
      try {
        await this.#jobs.shift()?.();
        this.#removeDone();
        for (let budget = this.#options.chunkSize; budget > 0;) {
          const read = await this.#readChunk();
          if (read === 0) break;
          budget -= read;
        }
        await this.#step();
      } catch (error) {
        this.#failAll(error);
      }
      await yieldToEventLoop(TURN_MS);
    }
    this.#loop = undefined;
  }

  /** Drops the sequences that ended from the batch. */
  #removeDone(): void {
    for (let row = this.#batch.length - 1; row >= 0; row--) {
      if (this.#batch[row]!.done) this.#removeRow(row);
    }
    if (this.#batch.length === 0) this.#shrink();
  }

  /** Frees the rows of keys and values that nobody uses. */
  #shrink(): void {
    if (this.#batch.length > 0) return this.#cache.select(this.#batch.map((_, row) => row));
    this.#cache.dispose();
    this.#cache = this.#model.createCache(0);
  }

  /** Takes a sequence out of the batch; the last one takes its row. */
  #removeRow(row: number): void {
    this.#cache.remove(row);
    const last = this.#batch.pop()!;
    if (row < this.#batch.length) this.#batch[row] = last;
  }

  /** Reads the next chunk of a prompt, and lets its sequence join the batch after the last. The number of tokens read. */
  async #readChunk(): Promise<number> {
    const prefill = this.#prefill ??= this.#nextPrefill();
    if (!prefill) return 0;
    const { sequence, cache } = prefill;
    const { prompt } = sequence;
    if (sequence.done) {
      this.#endPrefill(prefill);
      return 0;
    }
    const end = cache.length + this.#options.chunkSize;
    const ids = Int32Array.from(prompt).subarray(cache.length, end);
    const isLast = end >= prompt.length;
    try {
      const drawn = this.#compute(() => {
        const input = tensor(ids, { shape: [1, ids.length], device: this.#model.device });
        const logits = this.#model.nextLogits(input, { cache });
        return isLast && sequence.ids.length === 0 ? this.#draw(logits, [sequence]) : undefined;
      });
      if (drawn) await this.#deliver([drawn]);
    } catch (error) {
      // What a pass that failed has left in the cache is not to be kept.
      cache.clear();
      this.#endPrefill(prefill);
      sequence.fail(error);
      if (error instanceof DeviceLostError) throw error;
      return 0;
    }
    if (isLast) {
      // Not caught above: where memory ends meanwhile, some layers of the batch's cache have grown and others have not.
      if (!sequence.done) {
        this.#cache.add(cache);
        this.#batch.push(sequence);
      }
      this.#endPrefill(prefill);
    }
    return ids.length;
  }

  #endPrefill({ sequence, cache }: Prefill): void {
    this.#prefill = undefined;
    this.#prefixes.put(sequence.prompt, cache);
    this.#makeRoom(() => this.#cache.bytes);
  }

  /** The sequence whose turn it is, once there is a place and memory for it. */
  #nextPrefill(): Prefill | undefined {
    const sequence = this.#queue.peek();
    if (!sequence || this.#batch.length >= this.#options.maxBatch) return undefined;
    const { maxPositionEmbeddings: context } = this.#model.config;
    const { prompt, ids } = sequence;
    const positions = () =>
      Math.min(context, Math.max(this.#cache.length, prompt.length + ids.length) + HEADROOM);
    const needed = () => this.#cache.bytesFor(this.#batch.length + 1, positions());
    const fresh = this.#model.createCache(0).bytesFor(1, prompt.length);
    const fits = this.#makeRoom(() => needed() + fresh) &&
      this.#binds(this.#cache, this.#batch.length + 1, positions());
    // Alone in the batch every sequence fits, which `submit` has made sure of.
    if (!fits && this.#batch.length > 0) return undefined;
    this.#queue.shift();
    let cache: KeyValueCache;
    try {
      cache = this.#prefixes.take(prompt) ?? this.#model.createCache(1);
    } catch (error) { // there is no memory for a copy of what is known
      sequence.fail(error);
      return undefined;
    }
    sequence.read = 0;
    if (ids.length === 0) { // otherwise it is read anew, and finds what it left itself
      sequence.cachedTokens = cache.length;
      this.#counts.cachedTokens += cache.length;
    }
    return { sequence, cache };
  }

  /** Gives every sequence of the batch a token, or several where reading them makes the device wait. */
  async #step(): Promise<void> {
    this.#makeRoomToGrow();
    const batch = [...this.#batch];
    if (batch.length === 0) return;
    const atOnce = this.#model.device.kind === "cpu" ? 1 : STEPS_PER_READ;
    const steps = Math.min(atOnce, ...batch.map(({ left, replays }) => replays ? 1 : left));
    const all: Drawn[] = [];
    try {
      for (let step = 0; step < steps; step++) all.push(this.#stepOnce(batch, all.at(-1)?.ids));
    } catch (error) {
      all.forEach(disposeDrawn);
      throw error;
    }
    await this.#deliver(all);
  }

  /** Has the model read an id of each sequence, `last` where they are still on the device, and draws what follows. */
  #stepOnce(batch: readonly Sequence[], last: Tensor | undefined): Drawn {
    const { device } = this.#model;
    const drawn = this.#compute(() => {
      const ids = last ??
        tensor(Int32Array.from(batch, ({ ids, read }) => ids[read]!), { device });
      const input = reshape(ids, [batch.length, 1]);
      const logits = batchInvariant(() => this.#model.nextLogits(input, { cache: this.#cache }));
      return this.#draw(logits, batch.map((one) => one.replays ? undefined : one));
    });
    for (const sequence of batch) sequence.read++;
    this.#counts.steps++;
    return drawn;
  }

  /** Draws an id for each row of scores (B, V) but those that are left out. What it makes outlives the scope. */
  #draw(logits: Tensor, rows: readonly (Sequence | undefined)[]): Drawn {
    const vocabSize = this.#vocabSize;
    const sequences: Sequence[] = [], ids: Tensor[] = [];
    const scores = new Map<Sequence, Tensor>();
    rows.forEach((sequence, row) => {
      if (!sequence) return;
      const own = rows.length === 1 ? logits : slice(logits, [[row, row + 1]]);
      sequences.push(sequence);
      ids.push(sample(own, { ...sequence.sampling, vocabSize, random: sequence.random }));
      if (sequence.logprobs !== undefined) scores.set(sequence, own.keep());
    });
    const none = () => tensor(new Int32Array(0), { device: this.#model.device });
    const joined = ids.length === 1 ? ids[0]! : ids.length === 0 ? none() : concat(ids);
    return { sequences, ids: joined.keep(), scores };
  }

  /** Reads what was drawn in several steps, and hands it out. */
  async #deliver(steps: readonly Drawn[]): Promise<void> {
    try {
      const tensors = steps.flatMap(({ ids, scores }) => [ids, ...scores.values()]);
      const values = (await readTensors(tensors)).values();
      for (const { sequences, scores } of steps) {
        const ids = values.next().value!;
        const read = new Map([...scores.keys()].map((one) => [one, values.next().value!]));
        sequences.forEach((sequence, i) => {
          // What is drawn after the end of a sequence is lost.
          if (sequence.done) return;
          const id = ids[i]!;
          if (id < 0) {
            return sequence.fail(new Error("Engine: no score of the sequence is a number"));
          }
          sequence.push(
            tokenOf(id, read.get(sequence), sequence.logprobs ?? 0, this.#vocabSize),
          );
          this.#counts.generatedTokens++;
        });
      }
    } finally {
      steps.forEach(disposeDrawn);
    }
  }

  /** Runs what computes with the model. */
  #compute<R>(body: () => R): R {
    return noGrad(() => scoped(body));
  }

  /** Makes room for the next step; where there is none, those that joined last give their place back. */
  #makeRoomToGrow(): void {
    const { maxPositionEmbeddings: context } = this.#model.config;
    const positions = () => Math.min(context, this.#cache.length + STEPS_PER_READ);
    const fits = () =>
      this.#makeRoom(() => this.#cache.bytesFor(this.#batch.length, positions())) &&
      this.#binds(this.#cache, this.#batch.length, positions());
    while (this.#batch.length > 1 && !fits()) {
      const row = this.#batch.length - 1;
      const sequence = this.#batch[row]!;
      this.#removeRow(row);
      this.#queue.putBack(sequence);
      this.#counts.preemptions++;
    }
  }

  /** Frees what is only kept for later until `needed` bytes fit beside the rest. False where they do not. */
  #makeRoom(needed: () => number): boolean {
    const others = () => this.#prefixes.bytes + (this.#prefill?.cache.bytes ?? 0);
    const fits = () => needed() + others() <= this.#options.cacheBytes;
    while (!fits()) {
      if (this.#prefixes.evict()) continue;
      this.#shrink();
      return fits();
    }
    return true;
  }

  /** Whether the device can bind the keys of a layer. */
  #binds(cache: KeyValueCache, rows: number, positions: number): boolean {
    const { maxBindingBytes } = this.#model.device;
    return cache.bytesFor(rows, positions) <= 2 * cache.layers * maxBindingBytes;
  }

  /** Ends all that runs with an error; where the device is lost, also all that waits. */
  #failAll(error: unknown): void {
    const running = [...this.#batch, ...this.#prefill ? [this.#prefill.sequence] : []];
    this.#free();
    if (error instanceof DeviceLostError) {
      this.#closed ??= new EngineClosedError(error.message, { cause: error });
      running.push(...this.#queue.clear());
    }
    for (const sequence of running) sequence.fail(error);
  }

  /** Frees all keys and values. */
  #free(): void {
    this.#prefill?.cache.dispose();
    this.#prefill = undefined;
    this.#prefixes[Symbol.dispose]();
    this.#cache.dispose();
    this.#cache = this.#model.createCache(0);
    this.#batch = [];
  }
}

function disposeDrawn({ ids, scores }: Drawn): void {
  ids.dispose();
  for (const one of scores.values()) one.dispose();
}

/** A token with the logarithms of its probability and of the likeliest, where `count` asks for these. */
function tokenOf(
  id: number,
  scores: ArrayLike<number> | undefined,
  count: number,
  vocabSize: number,
): GeneratedToken {
  if (!scores) return { id };
  let highest = -Infinity;
  for (let i = 0; i < vocabSize; i++) highest = Math.max(highest, scores[i]!);
  let sum = 0;
  for (let i = 0; i < vocabSize; i++) sum += Math.exp(scores[i]! - highest);
  const logSum = highest + Math.log(sum);
  const best: number[] = [];
  for (let i = 0; i < vocabSize && count > 0; i++) {
    if (best.length === count && !(scores[i]! > scores[best[count - 1]!]!)) continue;
    let at = best.length;
    while (at > 0 && scores[i]! > scores[best[at - 1]!]!) at--;
    best.splice(at, 0, i);
    if (best.length > count) best.pop();
  }
  const top = best.map((id) => ({ id, logprob: scores[id]! - logSum }));
  return { id, logprob: scores[id]! - logSum, top };
}
