/**
 * Processes that train one model together.
 *
 * @module
 */

/** Numbers that can be summed over the ranks. */
export type Summable = Float32Array | Float64Array | Float16Array;

/** How {@linkcode Communicator.allReduce} sends. */
export interface AllReduceOptions {
  /**
   * `f16` sends half as many bytes: values are rounded to f16 once on their way to the sum, which is taken in f32, and once
   * on the way back. `Float16Array`s always go like that. Default: as they are.
   */
  readonly wire?: "f32" | "f16" | undefined;
}

/**
 * The processes of one job, its ranks, as MPI and `torch.distributed` know them. Every rank makes the same calls in the same
 * order. A call begins at once and goes on in a thread of its own, whatever the caller computes meanwhile; calls are
 * done in order. Until its promise resolves, nobody may touch the values. Views of a `SharedArrayBuffer`, as the memory of the CPU
 * device is one, are not copied.
 *
 * Where a rank ends before its communicator is closed, the launcher ends all of them.
 */
export interface Communicator extends AsyncDisposable {
  /** Which process this is, from 0. */
  readonly rank: number;
  /** How many there are. */
  readonly size: number;
  /** The machine that each rank runs on. */
  readonly hosts: readonly string[];
  /** One line for people: the library and the number of ranks. */
  readonly description: string;
  /** Milliseconds that calls have taken so far, the waiting for other ranks included. */
  readonly busy: number;
  /** The sum over all ranks, element by element, put in place of the values; bit by bit the same on every rank. */
  allReduce(values: Summable, options?: AllReduceOptions): Promise<void>;
  /** Copies the values of the rank `root` (default 0) over those of all others. */
  broadcast(values: ArrayBufferView, root?: number): Promise<void>;
  /** The values of all ranks, each as long, one after another. */
  gather(values: Float64Array): Promise<Float64Array>;
  /** Waits until all ranks have come here. */
  barrier(): Promise<void>;
  /** Ends all ranks at once with an exit code, saying why on the standard error stream. */
  abort(reason: string, exitCode?: number): Promise<never>;
}

/** A process on its own: every sum is the value itself. */
export class SingleProcess implements Communicator {
  readonly rank: number = 0;
  readonly size: number = 1;
  readonly hosts: readonly string[] = ["this machine"];
  readonly description = "one process";
  readonly busy = 0;
  allReduce(): Promise<void> {
    return Promise.resolve();
  }
  broadcast(): Promise<void> {
    return Promise.resolve();
  }
  gather(values: Float64Array): Promise<Float64Array> {
    return Promise.resolve(values.slice());
  }
  barrier(): Promise<void> {
    return Promise.resolve();
  }
  abort(reason: string, exitCode?: number): Promise<never> {
    console.error(`error: ${reason}`);
    Deno.exit(exitCode ?? 1);
  }
  /** There is nothing to close. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** The part [start, end) of `count` things that falls to a rank; parts differ by one at most, and rank 0 has no smaller one. */
export function shareOf(
  count: number,
  { rank, size }: Pick<Communicator, "rank" | "size">,
): { start: number; end: number } {
  const begin = (rank: number) => Math.ceil(count * rank / size);
  return { start: begin(rank), end: begin(rank + 1) };
}

/** What the rank `root` (default 0) has as `value`, anything that JSON can keep, on every rank. */
export async function shareJson<T>(
  communicator: Communicator,
  value: T,
  root?: number,
): Promise<T> {
  if (communicator.size === 1) return value;
  const text = new TextEncoder().encode(JSON.stringify({ value }));
  const length = Float64Array.of(text.length);
  await communicator.broadcast(length, root);
  const bytes = communicator.rank === (root ?? 0) ? text : new Uint8Array(length[0]!);
  await communicator.broadcast(bytes, root);
  return JSON.parse(new TextDecoder().decode(bytes)).value;
}
