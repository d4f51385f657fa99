/**
 * Turns a corpus of texts into token shards.
 *
 * @module
 */
import { basename } from "../../io/node_builtins.ts";
import { removeStrayTemporaries } from "../../io/atomic_file.ts";
import { toPath } from "../../io/byte_source.ts";
import { type Chunk, kindOf, readChunks } from "./chunks.ts";
import {
  type Manifest,
  readManifest,
  shardPaths,
  ShardStream,
  writeManifest,
} from "./shard_stream.ts";
import { type Tokenized, TokenizerPool } from "./work.ts";

/** A file of a corpus that is fetched when its turn comes. */
export interface CorpusFile {
  /** The name, whose extension determines the kind of file. */
  readonly name: string;
  /** The length in bytes. */
  readonly bytes: number;
  /** The SHA-256, if known: a preparation only continues with the same file. */
  readonly sha256?: string | undefined;
  /** Fetches the file to this machine and returns its path; called once more if that failed. */
  open(signal: AbortSignal): Promise<string>;
  /** Called when the file is no longer needed. */
  release?(): Promise<void>;
}

/** Options of {@linkcode prepareCorpus}. */
export interface PrepareOptions {
  /** The first part of the shards' names. Default: `corpus`, as in `corpus_train_000001.npy`. */
  prefix?: string;
  /** The number of tokens in each shard but the last. Default: 100,000,000. */
  tokensPerShard?: number | undefined;
  /**
   * The number of shards to make. The call ends when they are full, and a later call with a higher number continues.
   * Default: all.
   */
  shards?: number;
  /** The column of parquet, or field of JSON, that holds a document's text. Default: `text`. */
  field?: string;
  /**
   * The number of threads that tokenize, each taking some 150 MB; 0 uses the calling thread. Default: the number of
   * processor cores, at most 4.
   */
  workers?: number;
  /** The bytes of text that a thread gets at a time. Default: 4 MiB. */
  chunkBytes?: number;
  /** The seconds between two saves of the progress, from which a killed run continues. Default: 5. */
  saveEvery?: number;
  /** Where the files come from, recorded in the manifest; see {@linkcode preparedOrigin}. */
  origin?: string | undefined;
  /** Called after every few megabytes. */
  onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Aborting it ends the call within a few megabytes, with everything saved. */
  signal?: AbortSignal | undefined;
}

/** The progress of {@linkcode prepareCorpus}. */
export interface PrepareProgress {
  /** The bytes of the corpus's files whose tokens are in the shards; compressed bytes for a compressed file. */
  doneBytes: number;
  /** The bytes of all files. */
  totalBytes: number;
  /** The number of tokens written since the beginning. */
  tokens: number;
  /** The number of documents since the beginning. */
  documents: number;
  /** The number of full shards. */
  shards: number;
  /** The name of the file being read. */
  file: string;
}

/** The result of {@linkcode prepareCorpus}. */
export interface PreparedCorpus {
  /** The paths of the full shards, in order; the first is for validation. */
  paths: string[];
  /** The number of tokens in all shards. */
  tokens: number;
  /** The number of documents in all shards. */
  documents: number;
  /** False if it ended before the corpus did. */
  complete: boolean;
}

/**
 * Turns a corpus into shards of token ids for `findShards` and `TokenLoader`, as build-nanogpt's `fineweb.py` does:
 * GPT-2's ids as uint16 in `.npy` files, `<|endoftext|>` before each document, 100 million tokens per shard, the first
 * shard for validation. Documents are the rows of parquet files, the lines of JSONL files, and in plain text what lies
 * between two `<|endoftext|>`, or the whole file if it has none; `.jsonl` and `.txt` may be compressed (`.gz`, `.zst`).
 * Documents stay in the order of the files.
 *
 * However the process ends, a call with the same files and folder continues from the last state in the folder's
 * `prepare.json`, without losing or repeating a token. Files are read a few megabytes at a time, whatever the size of
 * their row groups and lines. Only one call at a time may use a folder.
 *
 * Needs `--allow-read` and `--allow-write` for the folder, `--allow-read` for the files, and, unless `workers` is 0 or
 * the library comes from a URL, `--allow-read` for the library's own files, which the workers load.
 *
 * @throws {RangeError} where an option is out of range or there are no files
 * @throws {TypeError} where a file is of no kind that can be read
 * @throws {FileFormatError} where a file is damaged or has no such field; what came before it is in the shards
 * @throws {Error} where the folder holds another corpus or another run's shards
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { findShards, prepareCorpus, readNpy } from "@dinograd/dinograd";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${folder}/a.jsonl`, '{"text": "Hello"}\n{"text": "Bye"}\n');
 * const options = { prefix: "greetings", tokensPerShard: 3, workers: 0 };
 * const { documents, tokens } = await prepareCorpus([`${folder}/a.jsonl`], folder, options);
 * assert.deepEqual([documents, tokens], [2, 5]);
 * const [train] = await findShards(folder, { split: "train" });
 * assert.deepEqual([...(await readNpy(train)).data], [3886, 68]); // 50256 15496 50256 are for validation
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function prepareCorpus(
  files: readonly (string | URL | CorpusFile)[],
  folder: string | URL,
  options?: PrepareOptions,
): Promise<PreparedCorpus> {
  const { workers = Math.min(4, navigator.hardwareConcurrency) } = options ?? {};
  const { shards = Infinity, saveEvery = 5, chunkBytes = 4 * 2 ** 20, signal } = options ?? {};
  for (const [name, value] of Object.entries({ workers, shards, chunkBytes })) {
    const min = name === "workers" ? 0 : 1;
    if (!(value >= min && (Number.isSafeInteger(value) || value === Infinity))) {
      throw new RangeError(`prepareCorpus: expected ${name} of ${min} or more but got ${value}`);
    }
  }
  const path = toPath(folder);
  const corpus = await Promise.all(files.map(asCorpusFile));
  await Deno.mkdir(path, { recursive: true });
  await removeStrayTemporaries(path);
  const manifest = await begin(path, corpus, options ?? {});
  using stream = await ShardStream.open(path, manifest, manifest);
  const ended = () => signal?.aborted || stream.state.shard >= shards;
  using pool = new TokenizerPool(manifest.complete || ended() ? 0 : workers);
  await using sources = new Sources(corpus, signal);
  const writer = new Writer(path, manifest, stream, saveEvery, options?.onProgress);
  try {
    while (manifest.file < corpus.length && !ended()) {
      const file = await sources.open(manifest.file);
      if (shards === Infinity) sources.prefetch(manifest.file + 1);
      if (!await takeFile(file, writer, pool, { workers, chunkBytes, ended })) break;
      manifest.file++;
      manifest.place = {};
      if (manifest.file === corpus.length) {
        await stream.finish();
        manifest.complete = true;
      }
      await writer.save();
      await corpus[manifest.file - 1]!.release?.();
    }
  } catch (error) {
    if (!(signal?.aborted && writer.consistent)) throw error;
  } finally {
    if (writer.consistent) await writer.save();
  }
  return {
    paths: shardPaths(path, manifest, manifest.shard),
    tokens: manifest.total,
    documents: manifest.documents,
    complete: manifest.complete,
  };
}

/** Processes the rest of a file; returns false if something ended it early. */
async function takeFile(
  file: string,
  writer: Writer,
  pool: TokenizerPool,
  { workers, chunkBytes, ended }: {
    readonly workers: number;
    readonly chunkBytes: number;
    readonly ended: () => boolean;
  },
): Promise<boolean> {
  const pending: Pending[] = [];
  const maxBytes = (2 * workers + 1) * chunkBytes;
  const { field, place } = writer.manifest;
  for await (const chunk of readChunks(file, { field, place, bytes: chunkBytes })) {
    // A long document takes ten times its bytes in memory: two of them are not tokenized at the same time.
    const bytes = sizeOf(chunk);
    while (pending.length > 0 && bytesOf(pending) + bytes > maxBytes && !ended()) {
      await writer.take(pending.shift()!);
    }
    if (ended()) return false;
    const result = pool.run(chunk.work);
    result.catch(() => {}); // handled when its turn comes
    pending.push({ chunk, bytes, result });
    if (pending.length > 2 * workers) await writer.take(pending.shift()!);
    if (ended()) return false;
  }
  for (const next of pending) {
    await writer.take(next);
    if (ended()) return next === pending.at(-1);
  }
  return true;
}

/** Writes tokens into the shards and, every few seconds, the manifest. */
class Writer {
  readonly manifest: Manifest;
  readonly #folder: string;
  readonly #stream: ShardStream;
  readonly #saveEvery: number;
  readonly #onProgress: PrepareOptions["onProgress"];
  #lastSave = performance.now();
  #consistent = true;

  constructor(
    folder: string,
    manifest: Manifest,
    stream: ShardStream,
    saveEvery: number,
    onProgress: PrepareOptions["onProgress"],
  ) {
    this.#folder = folder;
    this.manifest = manifest;
    this.#stream = stream;
    this.#saveEvery = saveEvery;
    this.#onProgress = onProgress;
  }

  /** Whether the manifest describes exactly what the stream was given. */
  get consistent(): boolean {
    return this.#consistent;
  }

  async save(): Promise<void> {
    Object.assign(this.manifest, await this.#stream.sync());
    await writeManifest(this.#folder, this.manifest);
    await this.#stream.settle();
    this.#lastSave = performance.now();
  }

  async take({ chunk, result }: Pending): Promise<void> {
    const { manifest } = this;
    const { tokens, documents } = await result;
    this.#consistent = false;
    await this.#stream.write(tokens);
    manifest.place = chunk.after;
    manifest.documents += documents;
    manifest.total += tokens.length;
    this.#consistent = true;
    this.#onProgress?.(progressOf(manifest, this.#stream.state.shard, chunk.share));
    if (performance.now() - this.#lastSave >= this.#saveEvery * 1000) await this.save();
  }
}

/** Returns the `origin` of the preparation in a folder; `undefined` if there is none. */
export async function preparedOrigin(folder: string | URL): Promise<string | undefined> {
  return (await readManifest(toPath(folder)))?.origin;
}

interface Pending {
  chunk: Chunk;
  /** The size of its text; the chunk's own bytes have gone to a thread. */
  bytes: number;
  result: Promise<Tokenized>;
}

/** Returns the approximate number of bytes of text in a chunk. */
function sizeOf({ work }: Chunk): number {
  return work.kind === "parquet" ? work.run.bytes : work.bytes.length;
}

function bytesOf(pending: readonly Pending[]): number {
  return pending.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The files of the corpus; the next is fetched while one is read. */
class Sources implements AsyncDisposable {
  readonly #files: readonly CorpusFile[];
  readonly #end = new AbortController();
  readonly #signal: AbortSignal;
  #ahead: { index: number; path: Promise<string | undefined> } | undefined;

  constructor(files: readonly CorpusFile[], signal: AbortSignal | undefined) {
    this.#files = files;
    this.#signal = AbortSignal.any([this.#end.signal, ...(signal ? [signal] : [])]);
  }

  prefetch(index: number): void {
    if (index >= this.#files.length) return;
    // A failure is handled in the file's own turn, where it is tried again.
    const path = this.#files[index]!.open(this.#signal).catch(() => undefined);
    this.#ahead = { index, path };
  }

  async open(index: number): Promise<string> {
    const ahead = this.#ahead?.index === index ? await this.#ahead.path : undefined;
    return ahead ?? await this.#files[index]!.open(this.#signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#ahead?.path;
  }
}

async function asCorpusFile(file: string | URL | CorpusFile): Promise<CorpusFile> {
  if (typeof file === "string" || file instanceof URL) {
    const path = toPath(file);
    const { size } = await Deno.stat(path);
    file = { name: basename(path), bytes: size, open: () => Promise.resolve(path) };
  }
  if (kindOf(file.name) === undefined) {
    throw new TypeError(
      `prepareCorpus: expected files named .parquet, .jsonl or .txt, the last two ` +
        `also with .gz or .zst, but got ${file.name}`,
    );
  }
  return file;
}

/** Returns the manifest to continue from, or a new one. */
async function begin(
  folder: string,
  corpus: readonly CorpusFile[],
  options: PrepareOptions,
): Promise<Manifest> {
  const { prefix = "corpus", tokensPerShard = 1e8, field = "text", origin } = options;
  if (!(Number.isSafeInteger(tokensPerShard) && tokensPerShard >= 1)) {
    throw new RangeError(
      `prepareCorpus: expected tokensPerShard of 1 or more but got ${tokensPerShard}`,
    );
  }
  if (corpus.length === 0) {
    throw new RangeError("prepareCorpus: expected one file or more but got none");
  }
  if (!/^[\w-]+$/.test(prefix)) {
    throw new RangeError(
      `prepareCorpus: expected a prefix of letters, digits, - and _ but got "${prefix}"`,
    );
  }
  const files = corpus.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }));
  const found = await readManifest(folder);
  if (found) {
    const wanted = { prefix, tokensPerShard, field, origin, files };
    for (const key of Object.keys(wanted) as (keyof typeof wanted)[]) {
      const [here, there] = [wanted[key], found[key]].map((value) => JSON.stringify(value));
      if (here !== there) {
        throw new Error(
          `${folder}: expected the ${key} that it was begun with, ${shortened(there)}, but got ${
            shortened(here)
          }; ` +
            `take another folder`,
        );
      }
    }
    return found;
  }
  for await (const { name } of Deno.readDir(folder)) {
    if (name.startsWith(`${prefix}_`) && /_\d+\.(npy|bin)$/.test(name)) {
      throw new Error(
        `${folder}: expected no shards of another run but got ${name}; take another folder`,
      );
    }
  }
  return {
    version: 1,
    tokenizer: "gpt2",
    ...{ prefix, tokensPerShard, field, origin, files },
    ...{ file: 0, place: {}, shard: 0, tokens: 0, total: 0, documents: 0, complete: false },
  };
}

function shortened(text: string | undefined): string {
  if (text === undefined) return "none";
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

function progressOf(manifest: Manifest, shards: number, share: number): PrepareProgress {
  const { files, file, total, documents } = manifest;
  const sum = (part: Manifest["files"]) => part.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    doneBytes: sum(files.slice(0, file)) + Math.round(share * files[file]!.bytes),
    totalBytes: sum(files),
    tokens: total,
    documents,
    shards,
    file: files[file]!.name,
  };
}
