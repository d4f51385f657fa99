/**
 * A pool of threads over one shared WebAssembly memory, all running the same kernels.
 *
 * The calling thread takes part and blocks until the job is done: operations on the CPU device are synchronous. Workers
 * come from a `data:` URL, so no permission is needed. They join once they have started; until then, the caller does
 * all the work.
 *
 * @module
 */
import type { Worker } from "node:worker_threads";
import { hasNodeBuiltins, workerThreads } from "../../io/node_builtins.ts";
import { KERNELS } from "../../../kernels/wasm/compiled.ts";

/** The exported functions of the WebAssembly module, by name. */
export type WasmFunctions = Readonly<Record<string, (...values: number[]) => number>>;

/** Maximum number of arguments of a kernel after (thread, start, end). */
const MAX_ARGUMENTS = 48;
const MAX_THREADS = 16;
const PAGE = 65536;

// Words (Int32) of the job descriptor at the start of the memory. Words that different threads write are on different
// cache lines.
/** Counts jobs. Workers sleep on it; -1 tells them to exit. */
const JOB = 16;
/** 1 while chunks of the job may be taken. */
const OPEN = 32;
/** The number of workers inside the job. */
const ACTIVE = 48;
/** The next chunk to take. */
const NEXT = 64;
/** The number of sleeping workers. If it is 0, starting a job needs no system call. */
const ASLEEP = 80;
/** The number of workers that have started. */
const STARTED = 81;
const KERNEL = 96;
const COUNT = 97;
const CHUNK = 98;
const ARGUMENTS = 99;
/** Bytes of a worker's error message, 0 if there is none. The text is at ERROR_TEXT. */
const ERROR_LENGTH = 100;
/** The Float64 index of the arguments. */
const VALUES = 64;
/** The byte address of the error text. */
const ERROR_TEXT = 2048;
const ERROR_MAX = 1024;

/** How long a worker spins for the next job before it sleeps, in milliseconds. */
const SPIN_MS = 0.04;

/** Computes the items [start, end) of a job. */
export type ThreadKernel = (
  thread: number,
  start: number,
  end: number,
  ...values: number[]
) => void;

/** A kernel outside the WebAssembly module, such as a product of the machine's BLAS. */
export interface NativeKernel {
  /** The name for {@linkcode ThreadPool.run}. */
  readonly name: string;
  /** The kernel for the calling thread, which may call the functions of the WebAssembly module. */
  create(memory: WebAssembly.Memory, wasm: WasmFunctions): ThreadKernel;
  /**
   * A JavaScript expression for a worker's own kernel, with `memory` and `wasm` in scope. A worker in which it throws
   * leaves such jobs to the other threads. Without it, only the calling thread runs them.
   */
  readonly workerSource?: string | undefined;
}

/**
 * Takes chunks of the open job until none is left. Its source text also runs in the workers, so it must not use
 * anything from this module except its arguments.
 */
function takeChunks(
  words: Int32Array,
  next: number,
  kernel: ThreadKernel,
  thread: number,
  count: number,
  chunk: number,
  values: number[],
): void {
  const chunks = Math.ceil(count / chunk);
  for (;;) {
    const i = Atomics.add(words, next, 1);
    // The counter of a cancelled job is far above any number of chunks.
    if (i < 0 || i >= chunks) return;
    const start = i * chunk;
    kernel(thread, start, Math.min(count, start + chunk), ...values);
  }
}

/** The program of a worker. `workerData` holds the memory, the module, the thread's number and the native kernels. */
const WORKER = `
import { workerData } from "node:worker_threads";
const { memory, module, thread, native } = workerData;
const takeChunks = ${takeChunks.toString()};
const instance = new WebAssembly.Instance(module, { env: { memory } });
const kernels = WebAssembly.Module.exports(module).map((e) => instance.exports[e.name]);
for (const source of native) {
  try {
    kernels.push(new Function("memory", "wasm", "return " + source)(memory, instance.exports));
  } catch {
    kernels.push(undefined);
  }
}
const words = new Int32Array(memory.buffer, 0, 1024);
const floats = new Float64Array(memory.buffer, 0, 256);
Atomics.add(words, ${STARTED}, 1);
let seen = 0;
for (;;) {
  let job = Atomics.load(words, ${JOB});
  if (job === seen) {
    const until = performance.now() + ${SPIN_MS};
    while ((job = Atomics.load(words, ${JOB})) === seen && performance.now() < until) {
      for (let i = 0; i < 64 && Atomics.load(words, ${JOB}) === seen; i++);
    }
    if (job === seen) {
      Atomics.add(words, ${ASLEEP}, 1);
      Atomics.wait(words, ${JOB}, seen);
      Atomics.sub(words, ${ASLEEP}, 1);
      job = Atomics.load(words, ${JOB});
    }
  }
  if (job === -1) break;
  seen = job;
  // Enter first, look second: the caller closes the job first and counts who is inside second.
  Atomics.add(words, ${ACTIVE}, 1);
  if (Atomics.load(words, ${OPEN}) === 1 && kernels[words[${KERNEL}]]) {
    try {
      const values = Array.from(floats.subarray(${VALUES}, ${VALUES} + words[${ARGUMENTS}]));
      takeChunks(words, ${NEXT}, kernels[words[${KERNEL}]], thread, words[${COUNT}], words[${CHUNK}], values);
    } catch (error) {
      Atomics.store(words, ${NEXT}, 0x40000000);
      const text = new TextEncoder().encode(String(error)).slice(0, ${ERROR_MAX});
      if (Atomics.compareExchange(words, ${ERROR_LENGTH}, 0, text.length) === 0) {
        new Uint8Array(memory.buffer, ${ERROR_TEXT}, text.length).set(text);
      }
    }
  }
  if (Atomics.sub(words, ${ACTIVE}, 1) === 1) Atomics.notify(words, ${ACTIVE});
}
`;

/** Options of {@linkcode ThreadPool.start}. */
export interface ThreadPoolOptions {
  /** The number of threads, including the calling one. Default: the number of logical cores, at most 16. */
  threads?: number | undefined;
  /** Kernels besides those of the WebAssembly module. */
  native?: readonly NativeKernel[] | undefined;
}

let compiled: WebAssembly.Module | undefined;

/** The kernels, compiled on first use. */
function compiledKernels(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(Uint8Array.fromBase64(KERNELS));
  return compiled;
}

/** Threads over one shared memory that run the WebAssembly kernels by name. */
export class ThreadPool {
  /** The memory that all threads share. It grows up to 4 GiB. */
  readonly memory: WebAssembly.Memory;
  /** The number of threads in a job, including the calling one. */
  readonly threads: number;
  /** The first byte that the pool's user may use. Below it are tables, scratch memory and the job descriptor. */
  readonly heapBase: number;

  /** Kernels by name. Those that are not shared run only on the calling thread. */
  readonly #kernels = new Map<string, { index: number; call: ThreadKernel; shared: boolean }>();
  readonly #words: Int32Array;
  readonly #values: Float64Array;
  readonly #workers: Worker[] = [];
  #closed = false;

  private constructor(threads: number, native: readonly NativeKernel[]) {
    this.memory = new WebAssembly.Memory({ initial: 1, maximum: PAGE, shared: true });
    const kernels = compiledKernels();
    const instance = new WebAssembly.Instance(kernels, { env: { memory: this.memory } });
    WebAssembly.Module.exports(kernels).forEach(({ name }, index) => {
      const call = instance.exports[name] as ThreadKernel;
      this.#kernels.set(name, { index, call, shared: true });
    });
    for (const { name, create, workerSource } of native) {
      this.#kernels.set(name, {
        index: this.#kernels.size,
        call: create(this.memory, instance.exports as WasmFunctions),
        shared: workerSource !== undefined,
      });
    }
    const heapBase = instance.exports.heap_base as (threads: number) => number;
    this.heapBase = heapBase(threads) >>> 0;
    this.memory.grow(Math.ceil(this.heapBase / PAGE) - 1);
    this.threads = threads;
    this.#words = new Int32Array(this.memory.buffer, 0, 1024);
    this.#values = new Float64Array(this.memory.buffer, 0, 256);
    const url = new URL("data:text/javascript," + encodeURIComponent(WORKER));
    for (let thread = 1; thread < threads; thread++) {
      const worker = new workerThreads.Worker(url, {
        workerData: {
          memory: this.memory,
          module: kernels,
          thread,
          native: native.map(({ workerSource }) => workerSource),
        },
      });
      // Idle workers must not keep the program from exiting.
      worker.unref();
      // A worker that cannot start is one thread less; jobs never wait for it.
      worker.on("error", () => {});
      this.#workers.push(worker);
    }
  }

  /**
   * Starts a pool. Kernels can run at once; workers join as they come up.
   *
   * @throws {RangeError} If `threads` is not an integer from 1 to 16.
   */
  static start(options?: ThreadPoolOptions): ThreadPool {
    const threads = options?.threads ??
      (hasNodeBuiltins ? Math.min(MAX_THREADS, Math.max(1, navigator.hardwareConcurrency)) : 1);
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw new RangeError(
        `ThreadPool.start: expected threads to be an integer from 1 to ${MAX_THREADS} but got ${threads}`,
      );
    }
    return new ThreadPool(threads, options?.native ?? []);
  }

  /** The number of workers that have started so far; eventually `threads - 1`. */
  get workersStarted(): number {
    return Atomics.load(this.#words, STARTED);
  }

  /** Blocks until all workers have started or the timeout is over. Returns whether they have. */
  waitForWorkers(timeoutMs = 5000): boolean {
    const until = performance.now() + timeoutMs;
    while (this.workersStarted < this.threads - 1) {
      if (performance.now() > until) return false;
      Atomics.wait(this.#words, 1, 0, 1);
    }
    return true;
  }

  /**
   * Runs the kernel `name` over [0, count) in chunks, each as `kernel(thread, start, end, ...values)`, and returns when
   * all are done. Threads take chunks as they become free, so the result of a kernel must not depend on which thread
   * computes what. A job of one chunk runs on the caller without waking anyone.
   *
   * @throws {Error} If the kernel is unknown, if it traps on any thread, or if the pool is closed.
   */
  run(name: string, count: number, chunk: number, ...values: number[]): void {
    const kernel = this.#kernels.get(name);
    if (kernel === undefined) {
      throw new Error(
        `kernel "${name}": expected the name of a WASM kernel but got one that is not there`,
      );
    }
    if (this.#closed) {
      throw new Error(`kernel "${name}": expected an open thread pool but got a closed one`);
    }
    if (!(count <= 0x3fffffff && chunk > 0 && values.length <= MAX_ARGUMENTS)) {
      throw new RangeError(
        `kernel "${name}": expected at most ${0x3fffffff} items, a positive chunk and at most ` +
          `${MAX_ARGUMENTS} arguments but got ${count}, ${chunk} and ${values.length}`,
      );
    }
    if (count <= 0) return;
    if (count <= chunk || this.threads === 1 || !kernel.shared) {
      try {
        for (let start = 0; start < count; start += chunk) {
          kernel.call(0, start, Math.min(count, start + chunk), ...values);
        }
      } catch (error) {
        throw new Error(`kernel "${name}" failed: ${error}`, { cause: error });
      }
      return;
    }
    const words = this.#words;
    words[KERNEL] = kernel.index;
    words[COUNT] = count;
    words[CHUNK] = chunk;
    words[ARGUMENTS] = values.length;
    words[ERROR_LENGTH] = 0;
    this.#values.set(values, VALUES);
    Atomics.store(words, NEXT, 0);
    Atomics.store(words, OPEN, 1);
    // From 0 to 2^30 - 1, never the -1 that ends the workers.
    Atomics.store(words, JOB, (words[JOB]! + 1) & 0x3fffffff);
    if (Atomics.load(words, ASLEEP) > 0) Atomics.notify(words, JOB);
    let failure: unknown;
    try {
      takeChunks(words, NEXT, kernel.call, 0, count, chunk, values);
    } catch (error) {
      Atomics.store(words, NEXT, 0x40000000);
      failure = error;
    }
    Atomics.store(words, OPEN, 0);
    for (let spins = 0, active; (active = Atomics.load(words, ACTIVE)) !== 0; spins++) {
      if (spins > 2000) Atomics.wait(words, ACTIVE, active, 1);
    }
    if (failure !== undefined) {
      throw new Error(`kernel "${name}" failed: ${failure}`, { cause: failure });
    }
    if (words[ERROR_LENGTH] !== 0) {
      const text = new Uint8Array(this.memory.buffer, ERROR_TEXT, words[ERROR_LENGTH]).slice();
      throw new Error(`kernel "${name}" failed on a worker: ${new TextDecoder().decode(text)}`);
    }
  }

  /** Ends the workers. The memory stays readable. Closing twice has no effect. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    Atomics.store(this.#words, JOB, -1);
    Atomics.notify(this.#words, JOB);
    for (const worker of this.#workers) worker.terminate();
    this.#workers.length = 0;
  }

  /** Same as {@linkcode ThreadPool.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
