/**
 * Turns a corpus of texts into token shards.
 *
 * @module
 */
import { basename, join } from "../../io/node_builtins.ts";
import { removeStrayTemporaries } from "../../io/atomic_file.ts";
import { toPath } from "../../io/byte_source.ts";
import {
  type Communicator,
  coresPerRank,
  shareJson,
  SingleProcess,
} from "../../distributed/communicator.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { type Chunk, kindOf, readChunks } from "./chunks.ts";
import { CorpusTokenizer } from "./corpus_tokenizer.ts";
import {
  type Manifest,
  type Place,
  readManifest,
  shardPaths,
  ShardStream,
  writeManifest,
} from "./shard_stream.ts";
import { type Tokenized, TokenizerPool, type Work } from "./work.ts";

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
  /** The tokenizer, a byte-level one. Default: GPT-2's. */
  tokenizer?: Tokenizer | undefined;
  /** The token before each document. Default: the tokenizer's `<|endoftext|>`. */
  documentSeparator?: number | undefined;
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
   * The number of threads that tokenize on each rank, each taking some 150 MB; 0 uses the calling thread. Default: the
   * number of processor cores, divided among the ranks of a machine, at most 4.
   */
  workers?: number;
  /** The bytes of text that a thread gets at a time. Default: 4 MiB. */
  chunkBytes?: number;
  /** The seconds between two saves of the progress, from which a killed run continues. Default: 5. */
  saveEvery?: number;
  /** Where the files come from, recorded in the manifest; see {@linkcode preparedOrigin}. */
  origin?: string | undefined;
  /**
   * The ranks that share the work; rank 0 writes the folder. Each reads the files, at the same paths, and tokenizes every
   * `size`-th piece. The shards are those of one process, and another number of ranks can continue. If the call throws on
   * one rank, the others wait for it until that rank calls `abort`.
   */
  communicator?: Communicator | undefined;
  /** Called after every few megabytes. */
  onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Aborting it, on one rank or more, ends the call within a few megabytes, with everything saved. */
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
 * shard for validation. Another tokenizer is saved beside them as `tokenizer.json`; more than 65,536 ids are uint32. Documents are the rows of parquet files, the lines of JSONL files, and in plain text what lies
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
 * @throws {TypeError} where a file is of no kind that can be read, or the tokenizer is not byte-level
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
  const { communicator = new SingleProcess() } = options ?? {};
  const { workers = Math.min(4, coresPerRank(communicator)) } = options ?? {};
  const { shards = Infinity, chunkBytes = 4 * 2 ** 20, signal } = options ?? {};
  for (const [name, value] of Object.entries({ workers, shards, chunkBytes })) {
    const min = name === "workers" ? 0 : 1;
    if (!(value >= min && (Number.isSafeInteger(value) || value === Infinity))) {
      throw new RangeError(`prepareCorpus: expected ${name} of ${min} or more but got ${value}`);
    }
  }
  const path = toPath(folder);
  const corpus = await Promise.all(files.map(asCorpusFile));
  const isFirst = communicator.rank === 0;
  const tokenizer = new CorpusTokenizer(options?.tokenizer, options?.documentSeparator);
  const begun = isFirst ? await begin(path, corpus, tokenizer, options ?? {}) : undefined;
  const manifest = (await shareJson(communicator, begun))!;
  const ended = () => manifest.complete || fullShards(manifest) >= shards;
  const { type } = tokenizer;
  using stream = isFirst
    ? await ShardStream.open(path, { ...manifest, type }, manifest)
    : undefined;
  using pool = new TokenizerPool(ended() ? 0 : workers, tokenizer);
  await using sources = new Sources(corpus, communicator, signal);
  const writer = new Writer(path, manifest, stream, options ?? {});
  const take = { writer, pool, tokenizer, communicator, workers, chunkBytes, ended, signal };
  try {
    while (!ended() && !await onAnyRank(communicator, signal?.aborted)) {
      const file = await sources.open(manifest.file);
      if (file === undefined) break;
      if (shards === Infinity && isFirst) sources.prefetch(manifest.file + 1);
      if (!await takeFile(file, take)) break;
      manifest.file++;
      manifest.place = {};
      if (manifest.file === corpus.length) {
        await stream?.finish();
        manifest.complete = true;
      }
      await writer.save();
      await communicator.barrier();
      await corpus[manifest.file - 1]!.release?.();
    }
  } finally {
    if (writer.consistent) await writer.save();
  }
  const { shard, total, documents, complete } = await shareJson(communicator, manifest);
  return { paths: shardPaths(path, manifest, shard), tokens: total, documents, complete };
}

/** What it takes to process a file. */
interface TakeOptions {
  readonly writer: Writer;
  readonly pool: TokenizerPool;
  readonly tokenizer: CorpusTokenizer;
  readonly communicator: Communicator;
  readonly workers: number;
  readonly chunkBytes: number;
  readonly ended: () => boolean;
  readonly signal: AbortSignal | undefined;
}

/** Processes the rest of a file, the same on all ranks; returns false if something ended it early. */
async function takeFile(
  file: string,
  { writer, pool, tokenizer, communicator, workers, chunkBytes, ended, signal }: TakeOptions,
): Promise<boolean> {
  const { rank, size } = communicator;
  const pending: Pending[] = [];
  const takeNext = async (): Promise<boolean> => {
    const { owner, result, after, share } = pending.shift()!;
    const own = signal?.aborted ? undefined : result;
    const tokenized = await fromOwner(communicator, tokenizer, owner, own);
    if (tokenized) await writer.take(tokenized, after, share);
    return tokenized !== undefined;
  };
  const maxBytes = (2 * workers + 1) * chunkBytes;
  const { field, place } = writer.manifest;
  let count = 0;
  const { cut } = tokenizer;
  for await (const chunk of readChunks(file, { field, place, bytes: chunkBytes, cut })) {
    const { work, after, share } = chunk;
    const owner = count++ % size;
    const next: Pending = { owner, after, share, bytes: 0 };
    if (owner === rank) {
      // A long document takes ten times its bytes in memory: two of them are not tokenized at the same time.
      next.bytes = sizeOf(work);
      while (bytesOf(pending) > 0 && bytesOf(pending) + next.bytes > maxBytes) {
        if (!await takeNext() || ended()) return false;
      }
      next.result = pool.run(work);
      next.result.catch(() => {}); // handled when its turn comes
    }
    pending.push(next);
    // Only when every rank has a chunk to tokenize: taking one waits for all ranks.
    while (count % size === 0 && pending.length > 2 * workers * size) {
      if (!await takeNext() || ended()) return false;
    }
  }
  while (pending.length > 0) {
    if (!await takeNext()) return false;
    if (ended()) return pending.length === 0;
  }
  return true;
}

/** Returns what the owner of a chunk has tokenized, on every rank; `undefined` if the owner is to stop. */
async function fromOwner(
  communicator: Communicator,
  tokenizer: CorpusTokenizer,
  owner: number,
  result: Promise<Tokenized> | undefined,
): Promise<Tokenized | undefined> {
  const own = await result;
  if (communicator.size === 1) return own;
  const header = Float64Array.of(own ? 1 : 0, own?.tokens.length ?? 0, own?.documents ?? 0);
  await communicator.broadcast(header, owner);
  const [isThere, length, documents] = header as unknown as [number, number, number];
  if (!isThere) return undefined;
  const tokens = own?.tokens ?? tokenizer.array(length);
  await communicator.broadcast(tokens, owner);
  return { tokens, documents };
}

/** Whether something holds on one rank at least. */
async function onAnyRank(communicator: Communicator, holds = false): Promise<boolean> {
  return (await communicator.gather(Float64Array.of(Number(holds)))).includes(1);
}

/** Writes tokens into the shards and, every few seconds, the manifest; without a stream it only keeps the manifest. */
class Writer {
  readonly manifest: Manifest;
  readonly #folder: string;
  readonly #stream: ShardStream | undefined;
  readonly #saveEvery: number;
  readonly #onProgress: PrepareOptions["onProgress"];
  #lastSave = performance.now();
  #consistent = true;

  constructor(
    folder: string,
    manifest: Manifest,
    stream: ShardStream | undefined,
    { saveEvery = 5, onProgress }: PrepareOptions,
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
    if (!this.#stream) return;
    Object.assign(this.manifest, await this.#stream.sync());
    await writeManifest(this.#folder, this.manifest);
    await this.#stream.settle();
    this.#lastSave = performance.now();
  }

  /** Writes the tokens of the next chunk. */
  async take({ tokens, documents }: Tokenized, after: Place, share: number): Promise<void> {
    const { manifest } = this;
    this.#consistent = false;
    await this.#stream?.write(tokens);
    manifest.place = after;
    manifest.documents += documents;
    manifest.total += tokens.length;
    this.#consistent = true;
    this.#onProgress?.(progressOf(manifest, share));
    if (performance.now() - this.#lastSave >= this.#saveEvery * 1000) await this.save();
  }
}

/** Returns the number of full shards. */
function fullShards({ total, tokensPerShard }: Manifest): number {
  return Math.floor(total / tokensPerShard);
}

/** Returns the `origin` of the preparation in a folder; `undefined` if there is none. */
export async function preparedOrigin(folder: string | URL): Promise<string | undefined> {
  return (await readManifest(toPath(folder)))?.origin;
}

/** A chunk whose tokens are to be written. */
interface Pending extends Pick<Chunk, "after" | "share"> {
  /** The rank that tokenizes it. */
  readonly owner: number;
  /** The tokens, on the owner. */
  result?: Promise<Tokenized>;
  /** The size of its text on the owner; the bytes themselves have gone to a thread. */
  bytes: number;
}

/** Returns the approximate number of bytes of text in a piece of work. */
function sizeOf(work: Work): number {
  return work.kind === "parquet" ? work.run.bytes : work.bytes.length;
}

function bytesOf(pending: readonly Pending[]): number {
  return pending.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The files of the corpus; the next is fetched while one is read. */
class Sources implements AsyncDisposable {
  readonly #files: readonly CorpusFile[];
  readonly #communicator: Communicator;
  readonly #end = new AbortController();
  readonly #signal: AbortSignal;
  #ahead: { index: number; path: Promise<string | undefined> } | undefined;

  constructor(
    files: readonly CorpusFile[],
    communicator: Communicator,
    signal: AbortSignal | undefined,
  ) {
    this.#files = files;
    this.#communicator = communicator;
    this.#signal = AbortSignal.any([this.#end.signal, ...(signal ? [signal] : [])]);
  }

  prefetch(index: number): void {
    if (index >= this.#files.length) return;
    // A failure is handled in the file's own turn, where it is tried again.
    const path = this.#files[index]!.open(this.#signal).catch(() => undefined);
    this.#ahead = { index, path };
  }

  /**
   * Opens a file on every rank, and returns `undefined` if one of them is to stop. Rank 0 comes first, since others may
   * have the same disk and find there what it has downloaded; then a rank on each other machine; then the rest.
   */
  async open(index: number): Promise<string | undefined> {
    const { rank, hosts } = this.#communicator;
    const own = rank === 0 ? 0 : hosts.indexOf(hosts[rank]!) === rank ? 1 : 2;
    let path: string | undefined;
    for (let turn = 0; turn <= 2; turn++) {
      if (turn === own) path = await this.#open(index);
      if (await onAnyRank(this.#communicator, turn === own && !path)) return undefined;
    }
    return path;
  }

  async #open(index: number): Promise<string | undefined> {
    const ahead = this.#ahead?.index === index ? await this.#ahead.path : undefined;
    try {
      return ahead ?? await this.#files[index]!.open(this.#signal);
    } catch (error) {
      if (this.#signal.aborted) return undefined;
      throw error;
    }
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
  { id: tokenizer, tokenizer: own }: CorpusTokenizer,
  options: PrepareOptions,
): Promise<Manifest> {
  const { prefix = "corpus", tokensPerShard = 1e8, field = "text", origin } = options;
  await Deno.mkdir(folder, { recursive: true });
  await removeStrayTemporaries(folder);
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
    const wanted = { prefix, tokenizer, tokensPerShard, field, origin, files };
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
  if (tokenizer !== "gpt2") await own.save(join(folder, "tokenizer.json"));
  return {
    version: 1,
    ...{ tokenizer, prefix, tokensPerShard, field, origin, files },
    ...{ file: 0, place: {}, shard: 0, tokens: 0, total: 0, documents: 0, complete: false },
  };
}

function shortened(text: string | undefined): string {
  if (text === undefined) return "none";
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

function progressOf(manifest: Manifest, share: number): PrepareProgress {
  const { files, file, total, documents } = manifest;
  const sum = (part: Manifest["files"]) => part.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    doneBytes: sum(files.slice(0, file)) + Math.round(share * files[file]!.bytes),
    totalBytes: sum(files),
    tokens: total,
    documents,
    shards: fullShards(manifest),
    file: files[file]!.name,
  };
}
