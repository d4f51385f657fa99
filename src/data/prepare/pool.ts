// Threads that tokenize.
import { type Tokenized, type Work, WorkTokenizer } from "./work.ts";

interface Job {
  work: Work;
  resolve: (done: Tokenized) => void;
  reject: (error: unknown) => void;
}

/**
 * A pool of workers that tokenize; with none of them the calling thread does it. A worker's file must be
 * loaded: from a URL with the permission that loaded this one, from a disk with `--allow-read` for it.
 */
export class TokenizerPool implements Disposable {
  /** Number of workers. */
  readonly size: number;
  readonly #own = new WorkTokenizer();
  readonly #workers: Worker[] = [];
  readonly #idle: Worker[] = [];
  readonly #running = new Map<Worker, Job>();
  readonly #waiting: Job[] = [];
  #failure: Error | undefined;

  /** Starts the workers. */
  constructor(size: number) {
    this.size = size;
    for (let i = 0; i < size; i++) {
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
      worker.onmessage = ({ data }) => this.#answered(worker, data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.#fail(new Error(`A tokenizing worker failed: ${event.message}`));
      };
      this.#workers.push(worker);
      this.#idle.push(worker);
    }
  }

  /** Does a piece of work; its bytes may be taken away. Throws what `WorkTokenizer.tokenize` throws. */
  run(work: Work): Promise<Tokenized> {
    if (this.size === 0) return this.#own.tokenize(work);
    if (this.#failure) return Promise.reject(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<Tokenized>();
    this.#waiting.push({ work, resolve, reject });
    this.#next();
    return promise;
  }

  /** Ends the workers. */
  [Symbol.dispose](): void {
    this.#fail(new Error("The tokenizing workers have been ended"));
    this.#own[Symbol.dispose]();
  }

  #next(): void {
    while (this.#idle.length > 0 && this.#waiting.length > 0) {
      const worker = this.#idle.pop()!;
      const job = this.#waiting.shift()!;
      this.#running.set(worker, job);
      const { work } = job;
      worker.postMessage(work, work.kind === "parquet" ? [] : [work.bytes.buffer]);
    }
  }

  #answered(worker: Worker, answer: { done: Tokenized } | { failed: Work }): void {
    const job = this.#running.get(worker)!;
    this.#running.delete(worker);
    this.#idle.push(worker);
    if ("done" in answer) job.resolve(answer.done);
    else this.#own.tokenize(answer.failed).then(job.resolve, job.reject);
    this.#next();
  }

  #fail(failure: Error): void {
    this.#failure ??= failure;
    for (const worker of this.#workers) worker.terminate();
    for (const job of [...this.#running.values(), ...this.#waiting]) job.reject(this.#failure);
    this.#running.clear();
    this.#waiting.length = 0;
  }
}
