// Token shards that grow on disk and survive the end of the process at any moment, and the manifest that records their
// progress, a file that is always complete.
import { writeFileAtomically } from "../../io/atomic_file.ts";
import { FileFormatError, FileWriteError } from "../../io/errors.ts";
import { shown } from "../../io/json_text.ts";
import { join } from "../../io/node_builtins.ts";
import { encodeNpyHeader } from "../../io/npy.ts";
import type { CorpusTokens } from "./corpus_tokenizer.ts";

/** The position of a stream of shards: everything before it is on disk. */
interface ShardState {
  /** The number of the shard being filled. */
  shard: number;
  /** The number of tokens in it. */
  tokens: number;
}

/** What the names of shards depend on. */
interface ShardNames {
  /** The first part of the file names. */
  prefix: string;
}

/** Options of {@linkcode ShardStream.open}. */
interface ShardStreamOptions extends ShardNames {
  /** The number of tokens in each shard but the last. */
  tokensPerShard: number;
  /** The type of the tokens. */
  type: "u2" | "u4";
}

/**
 * Writes tokens as shards named as in build-nanogpt, shard 0 for validation. The shard being written is called
 * `<name>.part`. The caller stores the state that `sync()` returns, then calls `settle()` to rename full shards; opened
 * again with that state, the stream drops whatever was written after it.
 */
export class ShardStream implements Disposable {
  readonly #folder: string;
  readonly #options: ShardStreamOptions;
  #shard: number;
  #tokens: number;
  #settled: number;
  #file: Deno.FsFile | undefined;

  private constructor(folder: string, options: ShardStreamOptions, state: ShardState) {
    this.#folder = folder;
    this.#options = options;
    this.#shard = this.#settled = state.shard;
    this.#tokens = state.tokens;
  }

  /**
   * Continues from a state in its folder, or begins.
   *
   * @throws {FileFormatError} where less is on the disk than the state says
   */
  static async open(
    folder: string,
    options: ShardStreamOptions,
    state: ShardState = { shard: 0, tokens: 0 },
  ): Promise<ShardStream> {
    for (let shard = 0; shard < state.shard; shard++) await settle(folder, options, shard);
    await removeParts(folder, options, state.tokens > 0 ? state.shard + 1 : state.shard);
    const stream = new ShardStream(folder, options, state);
    if (state.tokens > 0) stream.#file = await openPart(folder, options, state);
    return stream;
  }

  /** The position, whether or not everything before it is on disk. */
  get state(): ShardState {
    return { shard: this.#shard, tokens: this.#tokens };
  }

  /** Adds tokens. */
  async write(tokens: CorpusTokens): Promise<void> {
    const { tokensPerShard } = this.#options;
    for (let rest = tokens; rest.length > 0;) {
      const part = rest.subarray(0, tokensPerShard - this.#tokens);
      this.#file ??= await openPart(this.#folder, this.#options, { shard: this.#shard, tokens: 0 });
      await this.#write(this.#file, new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
      this.#tokens += part.length;
      rest = rest.subarray(part.length);
      if (this.#tokens === tokensPerShard) await this.finish();
    }
  }

  /** Waits until everything written is on disk, and returns the position. */
  async sync(): Promise<ShardState> {
    await this.#file?.sync();
    return this.state;
  }

  /** Ends the shard being filled, if there is anything in it. */
  async finish(): Promise<void> {
    if (!this.#file) return;
    await this.#file.seek(0, Deno.SeekMode.Start);
    await this.#write(this.#file, encodeNpyHeader(this.#options.type, [this.#tokens]));
    await this.#file.sync();
    this[Symbol.dispose]();
    this.#shard++;
    this.#tokens = 0;
  }

  /** Gives full shards their final names, once a state after them is stored. */
  async settle(): Promise<void> {
    for (; this.#settled < this.#shard; this.#settled++) {
      await settle(this.#folder, this.#options, this.#settled);
    }
  }

  /** Closes the file; nothing is lost, but what was written after the last state will be dropped. */
  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
  }

  async #write(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
    let done = 0;
    try {
      while (done < bytes.length) done += await file.write(bytes.subarray(done));
    } catch (cause) {
      const path = partPath(this.#folder, this.#options, this.#shard);
      const bytesWritten = bytesOf(this.#options, this.#tokens) + done;
      throw new FileWriteError(path, { bytesWritten, cause });
    }
  }
}

/** Returns the paths of the shards that a preparation has made so far. */
export function shardPaths(folder: string, options: ShardNames, count: number): string[] {
  return Array.from({ length: count }, (_, shard) => shardPath(folder, options, shard));
}

/** Removes the partial shards from number `first` on. */
async function removeParts(
  folder: string,
  { prefix }: ShardNames,
  first: number,
): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    const match = /^(.+)_(?:val|train)_(\d{6,})\.npy\.part$/.exec(name);
    if (match?.[1] === prefix && Number(match[2]) >= first) await Deno.remove(join(folder, name));
  }
}

function shardPath(folder: string, { prefix }: ShardNames, shard: number): string {
  const split = shard === 0 ? "val" : "train";
  return join(folder, `${prefix}_${split}_${String(shard).padStart(6, "0")}.npy`);
}

function partPath(folder: string, options: ShardNames, shard: number): string {
  return `${shardPath(folder, options, shard)}.part`;
}

/** Opens the partial shard at exactly the state; anything behind it was written after the state was stored. */
async function openPart(
  folder: string,
  options: ShardStreamOptions,
  { shard, tokens }: ShardState,
): Promise<Deno.FsFile> {
  const path = partPath(folder, options, shard);
  const bytes = bytesOf(options, tokens);
  const file = await Deno.open(path, { read: true, write: true, create: true });
  try {
    const { size } = await file.stat();
    if (tokens > 0 && size < bytes) {
      const message = `should hold ${tokens} tokens in ${bytes} bytes, but has ${size} bytes`;
      throw new FileFormatError(message, { file: path });
    }
    await file.truncate(bytes);
    await file.seek(0, Deno.SeekMode.End);
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

async function settle(folder: string, options: ShardNames, shard: number): Promise<void> {
  const path = shardPath(folder, options, shard);
  try {
    await Deno.rename(partPath(folder, options, shard), path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await Deno.stat(path); // already renamed; throws NotFound if somebody has removed it
  }
}

/** Returns the bytes of a shard. The header's length does not depend on the number of tokens, so it can be written last. */
function bytesOf({ type }: ShardStreamOptions, tokens: number): number {
  return encodeNpyHeader(type, [1]).length + (type === "u2" ? 2 : 4) * tokens;
}

/** A position in a file; the meaning of the numbers depends on the kind of file. */
export type Place = Record<string, number>;

/** The state of a preparation, stored as JSON. */
export interface Manifest extends ShardState {
  /** The version of this format. */
  version: 1;
  /** The tokenizer of the ids: `gpt2`, or a SHA-256. */
  tokenizer: string;
  /** The first part of the shards' names. */
  prefix: string;
  /** The number of tokens in each shard but the last. */
  tokensPerShard: number;
  /** The column of parquet, or field of JSON, with the text of a document. */
  field: string;
  /** Where the files came from, such as a revision of a repository. */
  origin?: string | undefined;
  /** The files of the corpus in order. */
  files: { name: string; bytes: number; sha256?: string | undefined }[];
  /** The index of the file being read; the number of files when all are read. */
  file: number;
  /** The place in that file where the next document begins. */
  place: Place;
  /** The number of tokens up to there, in all shards. */
  total: number;
  /** The number of documents up to there. */
  documents: number;
  /** Whether the whole corpus is in the shards. */
  complete: boolean;
}

const NAME = "prepare.json";

/**
 * Reads the manifest of a folder; `undefined` if there is none.
 *
 * @throws {FileFormatError} where it is damaged, or of another version
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const file = join(folder, NAME);
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text);
  } catch (cause) {
    throw new FileFormatError(`expected JSON: ${(cause as Error).message}`, { file, cause });
  }
  const problem = problemOf(manifest);
  if (problem) throw new FileFormatError(problem, { file });
  return manifest;
}

/** Writes the manifest of a folder atomically. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  await writeFileAtomically(join(folder, NAME), async (file) => {
    await file.write(new TextEncoder().encode(JSON.stringify(manifest, undefined, 2) + "\n"));
  });
}

function problemOf(manifest: Manifest | null): string | undefined {
  if (manifest?.version !== 1) return `expected version 1 but got ${manifest?.version}`;
  const { file, shard, tokens, total, documents, tokensPerShard, place, files } = manifest;
  const counts = { file, shard, tokens, total, documents, tokensPerShard, ...place };
  for (const [name, value] of Object.entries(counts)) {
    if (!Number.isSafeInteger(value) || value < 0) {
      return `expected an integer as ${name} but got ${value}`;
    }
  }
  if (!Array.isArray(files) || file > files.length) {
    return `expected a list with file ${file} but got ${shown(files)}`;
  }
  if (tokens >= tokensPerShard) {
    return `expected fewer than ${tokensPerShard} tokens in the open shard but got ${tokens}`;
  }
  return undefined;
}
