// The work that a thread gets, how it does it, and the pool of threads.
import { END_OF_TEXT } from "../../tokenizer/gpt2_tokenizer.ts";
import { parseJsonLines, textField } from "../jsonl.ts";
import { type PageRun, ParquetTexts } from "../parquet.ts";
import type { CorpusTokenizer, CorpusTokens } from "./corpus_tokenizer.ts";

/** A few megabytes of documents, in a form that can be sent to another thread. */
export type Work =
  | { kind: "parquet"; path: string; field: string; run: PageRun }
  | { kind: "jsonl"; path: string; field: string; bytes: Uint8Array<ArrayBuffer>; line: number }
  | { kind: "text"; path: string; bytes: Uint8Array<ArrayBuffer>; inside: boolean };

/** The result of tokenizing. */
export interface Tokenized {
  /** The tokens of the documents, each after the separator. */
  tokens: CorpusTokens;
  /** The number of documents that begin in it. */
  documents: number;
}

/** Tokenizes; keeps the parquet file it read last open. */
export class WorkTokenizer implements Disposable {
  readonly #tokenizer: CorpusTokenizer;
  #parquet: { key: string; texts: Promise<ParquetTexts> } | undefined;

  constructor(tokenizer: CorpusTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /**
   * Tokenizes a piece of work.
   *
   * @throws {FileFormatError} where the documents are not what their file promises
   */
  async tokenize(work: Work): Promise<Tokenized> {
    const out = new Tokens(this.#tokenizer);
    switch (work.kind) {
      case "parquet": {
        const parquet = await this.#open(work.path, work.field);
        for (const text of await parquet.read(work.run)) out.document(text);
        break;
      }
      case "jsonl":
        for (const line of parseJsonLines(decoder.decode(work.bytes), work.path, work.line)) {
          out.document(textField(line, work.field, work.path));
        }
        break;
      case "text":
        decoder.decode(work.bytes).split(END_OF_TEXT).forEach((text, i) => {
          if (i === 0 && work.inside) out.more(text);
          else if (text.trim() !== "") out.document(text);
        });
    }
    return out.done();
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#parquet?.texts.then((texts) => texts.close(), () => {});
    this.#parquet = undefined;
  }

  #open(path: string, field: string): Promise<ParquetTexts> {
    const key = `${field} ${path}`;
    if (this.#parquet?.key !== key) {
      this[Symbol.dispose]();
      this.#parquet = { key, texts: ParquetTexts.open(path, field) };
    }
    return this.#parquet.texts;
  }
}

/** The number of characters that the tokenizer gets at a time. */
const PART = 2 ** 21;

/**
 * Returns where a part that begins at `start` may end: before a blank between two ASCII letters, where a new word begins
 * in every pattern, or at the end of the text if there is no such place.
 */
function nextCut(text: string, start: number): number {
  if (text.length - start <= PART) return text.length;
  const place = /[a-zA-Z] [a-zA-Z]/g;
  place.lastIndex = start + PART;
  const found = place.exec(text);
  return found ? found.index + 1 : text.length;
}

/** The number of tokens in a piece of the output. */
const PIECE = 2 ** 20;

// A byte order mark counts as text here.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The tokens of successive documents. */
class Tokens {
  readonly #tokenizer: CorpusTokenizer;
  /** Full arrays: a single growing one would take three times its size. */
  readonly #full: CorpusTokens[] = [];
  #tokens: CorpusTokens;
  #length = 0;
  #documents = 0;

  constructor(tokenizer: CorpusTokenizer) {
    this.#tokenizer = tokenizer;
    this.#tokens = tokenizer.array(PIECE);
  }

  /** Adds a document that begins here. */
  document(text: string): void {
    this.#push([this.#tokenizer.separator]);
    this.#documents++;
    this.more(text);
  }

  /** Adds more of the document before; a long one is tokenized in parts, which takes less memory. */
  more(text: string): void {
    const { tokenizer } = this.#tokenizer;
    let start = 0;
    for (let cut = nextCut(text, start); cut < text.length; cut = nextCut(text, start)) {
      this.#push(tokenizer.encodeOrdinary(text.slice(start, cut)));
      start = cut;
    }
    this.#push(tokenizer.encodeOrdinary(start ? text.slice(start) : text));
  }

  done(): Tokenized {
    const all = [...this.#full, this.#tokens.subarray(0, this.#length)];
    const tokens = this.#tokenizer.array(all.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of all) {
      tokens.set(piece, at);
      at += piece.length;
    }
    return { tokens, documents: this.#documents };
  }

  #push(ids: ArrayLike<number>): void {
    const length = this.#length + ids.length;
    if (length > this.#tokens.length) {
      this.#full.push(this.#tokens.subarray(0, this.#length));
      this.#tokens = this.#tokenizer.array(Math.max(ids.length, PIECE));
      this.#length = 0;
    }
    this.#tokens.set(ids, this.#length);
    this.#length += ids.length;
  }
}

interface Job {
  work: Work;
  resolve: (done: Tokenized) => void;
  reject: (error: unknown) => void;
}

/**
 * A pool of workers that tokenize; without any, the calling thread does it. Loading a worker's file needs, from a URL,
 * the permission that loaded this one and, from a disk, `--allow-read` for it.
 */
export class TokenizerPool implements Disposable {
  /** The number of workers. */
  readonly size: number;
  readonly #own: WorkTokenizer;
  readonly #workers: Worker[] = [];
  readonly #idle: Worker[] = [];
  readonly #running = new Map<Worker, Job>();
  readonly #waiting: Job[] = [];
  #failure: Error | undefined;

  /** Starts the workers. */
  constructor(size: number, tokenizer: CorpusTokenizer) {
    this.size = size;
    this.#own = new WorkTokenizer(tokenizer);
    for (let i = 0; i < size; i++) {
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
      worker.onmessage = ({ data }) => this.#answered(worker, data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.#fail(new Error(`prepareCorpus: a tokenizing worker failed: ${event.message}`));
      };
      worker.postMessage(tokenizer.message());
      this.#workers.push(worker);
      this.#idle.push(worker);
    }
  }

  /** Runs a piece of work; its bytes may be transferred. Throws what `WorkTokenizer.tokenize` throws. */
  run(work: Work): Promise<Tokenized> {
    if (this.size === 0) return this.#own.tokenize(work);
    if (this.#failure) return Promise.reject(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<Tokenized>();
    this.#waiting.push({ work, resolve, reject });
    this.#next();
    return promise;
  }

  /** Stops the workers. */
  [Symbol.dispose](): void {
    this.#fail(new Error("prepareCorpus: the tokenizing workers were ended"));
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
