/**
 * Processes that train one model together.
 *
 * @module
 */

/** Arrays that can be summed over the ranks. */
export type Summable = Float32Array | Float64Array | Float16Array;

/** Arrays that can be gathered from the ranks. */
export type Gatherable = Float64Array | Float32Array | Int32Array | Uint32Array;

/** Options of {@linkcode Communicator.allReduce}. */
export interface AllReduceOptions {
  /**
   * The type in which values are sent. `f16` halves the bytes: values are rounded to f16 once on the way to the sum,
   * which is computed in f32, and once on the way back. `Float16Array`s are always sent like that. Default: as they
   * are.
   */
  readonly wire?: "f32" | "f16" | undefined;
}

/**
 * The processes of one job, its ranks, as in MPI and `torch.distributed`. Every rank makes the same calls in the same
 * order. A call starts at once and runs in a thread of its own while the caller computes; calls are executed in order.
 * Until its promise resolves, nothing else may access the values. Views of a `SharedArrayBuffer`, such as the memory of
 * the CPU device, are not copied.
 *
 * If a rank ends before its communicator is closed, the launcher ends all of them.
 */
export interface Communicator extends AsyncDisposable {
  /** The index of this process, from 0. */
  readonly rank: number;
  /** The number of processes. */
  readonly size: number;
  /** The machine on which each rank runs. */
  readonly hosts: readonly string[];
  /** A description for display, one line: the library and the number of ranks. */
  readonly description: string;
  /** The milliseconds that calls have taken so far, including the wait for other ranks. */
  readonly busy: number;
  /**
   * The bytes of the values that this rank has summed or copied so far, in the type in which they are sent. What an
   * algorithm moves is up to twice that: `2 (size - 1) / size` for a sum in a ring.
   */
  readonly bytes: number;
  /** Replaces the values by their sum over all ranks, element by element; bit by bit the same on every rank. */
  allReduce(values: Summable, options?: AllReduceOptions): Promise<void>;
  /** Copies the values of rank `root` (default: 0) to all other ranks. */
  broadcast(values: ArrayBufferView, root?: number): Promise<void>;
  /** Returns the values of all ranks, of equal length, one after another. */
  gather<T extends Gatherable>(values: T): Promise<T>;
  /** Waits until all ranks have made this call. */
  barrier(): Promise<void>;
  /** Ends all ranks at once with an exit code, after writing the reason to standard error. */
  abort(reason: string, exitCode?: number): Promise<never>;
}

/** A single process: every sum is the value itself. */
export class SingleProcess implements Communicator {
  readonly rank: number = 0;
  readonly size: number = 1;
  readonly hosts: readonly string[] = ["this machine"];
  readonly description = "one process";
  readonly busy = 0;
  readonly bytes = 0;
  allReduce(): Promise<void> {
    return Promise.resolve();
  }
  broadcast(): Promise<void> {
    return Promise.resolve();
  }
  gather<T extends Gatherable>(values: T): Promise<T> {
    return Promise.resolve(values.slice() as T);
  }
  barrier(): Promise<void> {
    return Promise.resolve();
  }
  abort(reason: string, exitCode?: number): Promise<never> {
    console.error(`error: ${reason}`);
    Deno.exit(exitCode ?? 1);
  }
  /** Does nothing: there is nothing to close. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * Returns the part [start, end) of `count` items for a rank; parts differ by at most one, and rank 0 has a largest one.
 */
export function shareOf(
  count: number,
  { rank, size }: Pick<Communicator, "rank" | "size">,
): { start: number; end: number } {
  const begin = (rank: number) => Math.ceil(count * rank / size);
  return { start: begin(rank), end: begin(rank + 1) };
}

/** Returns how many of its machine's processor cores each rank there has; at least 1. */
export function coresPerRank({ rank, hosts }: Pick<Communicator, "rank" | "hosts">): number {
  const neighbours = hosts.filter((host) => host === hosts[rank]).length;
  return Math.max(1, Math.floor(navigator.hardwareConcurrency / neighbours));
}

/** Returns on every rank the `value` of rank `root` (default: 0), anything that JSON can represent. */
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
