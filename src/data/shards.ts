// Token shards on disk: found by their names, opened by their kind, read by ranges.
import { join } from "node:path";
import { type ByteSource, FileSource, toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { readLlmcHeader, writeLlmcTokens } from "../io/llmc_bin.ts";
import { readNpyHeader, writeNpy } from "../io/npy.ts";

/** A stretch of tokens that can be read by ranges; a loader walks several in order. */
export interface TokenSource {
  /** Path of the file, or a name for tokens in memory. */
  readonly name: string;
  /** Number of tokens. */
  readonly length: number;
  /** Reads `count` tokens from the token `start` on. */
  read(start: number, count: number): Promise<TokenArray>;
  /** Lets go of the file until the next read. */
  close(): void;
}

/** Token ids: two bytes each as GPT-2's fit, four for larger vocabularies. */
export type TokenArray = Uint16Array | Uint32Array | Int32Array;

/** Options of {@linkcode findShards}. */
export interface FindShardsOptions {
  /** Only shards with this part in their names, between underscores: `train`, `val`. */
  split?: string;
}

const SHARD_NAME = /^(.+)_(\d+)\.(npy|bin)$/;

/**
 * Paths of the token shards of a folder, in the order of their numbers: files named like
 * `edufineweb_train_000001.npy`, or `.bin` for llm.c's format.
 *
 * @throws {Error} where the folder is missing or holds no such shard; the message says what it does
 * hold
 */
export async function findShards(
  folder: string | URL,
  options: FindShardsOptions = {},
): Promise<string[]> {
  const { split } = options;
  const path = toPath(folder);
  const found: { name: string; prefix: string; index: number }[] = [];
  const others: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(path)) {
      const match = SHARD_NAME.exec(name);
      const fits = match && !isDirectory &&
        (split === undefined || match[1].split("_").includes(split));
      if (fits) found.push({ name, prefix: match[1], index: Number(match[2]) });
      else others.push(name);
    }
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound) && !(cause instanceof Deno.errors.NotADirectory)) {
      throw cause;
    }
    throw new Error(`${path}: there is no such folder of token shards`, { cause });
  }
  if (found.length === 0) {
    const wanted = split === undefined ? "<name>_000001.npy" : `<name>_${split}_000001.npy`;
    const there = others.length === 0
      ? "it is empty"
      : `it holds ${others.sort().slice(0, 3).join(", ")}${others.length > 3 ? ", ..." : ""}`;
    throw new Error(`${path}: no token shards named like ${wanted} (or .bin), ${there}`);
  }
  found.sort((a, b) => a.prefix < b.prefix ? -1 : a.prefix > b.prefix ? 1 : a.index - b.index);
  return found.map(({ name }) => join(path, name));
}

/**
 * Opens a token shard: a one-dimensional `.npy` of uint16, uint32 or int32, or llm.c's `.bin`. Only
 * the header is read, and the file is held open only between a read and `close()`.
 *
 * @throws {FileFormatError} where the file is foreign, cut short, of another type, or holds no token
 */
export async function openShard(path: string | URL): Promise<TokenSource> {
  using source = await FileSource.open(path);
  const isNpy = source.name.endsWith(".npy");
  const layout = isNpy ? await npyLayout(source) : await llmcLayout(source);
  if (layout.length === 0) throw new FileFormatError("holds no tokens", { file: source.name });
  return new FileShard(source.name, layout);
}

interface ShardLayout {
  length: number;
  dataOffset: number;
  type: Uint16ArrayConstructor | Uint32ArrayConstructor | Int32ArrayConstructor;
}

async function npyLayout(source: ByteSource): Promise<ShardLayout> {
  const { dtype, shape, count, dataOffset } = await readNpyHeader(source);
  const type = dtype === "u2"
    ? Uint16Array
    : dtype === "u4"
    ? Uint32Array
    : dtype === "i4"
    ? Int32Array
    : undefined;
  if (type === undefined || shape.length !== 1) {
    throw new FileFormatError(
      `expected one axis of tokens of type u2, u4 or i4, found ${dtype} of shape [${shape}]`,
      { file: source.name },
    );
  }
  return { length: count, dataOffset, type };
}

async function llmcLayout(source: ByteSource): Promise<ShardLayout> {
  const { tokenCount, dataOffset } = await readLlmcHeader(source);
  return { length: tokenCount, dataOffset, type: Uint16Array };
}

class FileShard implements TokenSource {
  readonly name: string;
  readonly length: number;
  #layout: ShardLayout;
  #source: Promise<FileSource> | undefined;

  constructor(name: string, layout: ShardLayout) {
    this.name = name;
    this.length = layout.length;
    this.#layout = layout;
  }

  async read(start: number, count: number): Promise<TokenArray> {
    const { type, dataOffset } = this.#layout;
    this.#source ??= FileSource.open(this.name);
    const tokens = new type(count);
    const offset = dataOffset + start * type.BYTES_PER_ELEMENT;
    await (await this.#source).readInto(new Uint8Array(tokens.buffer), offset);
    return tokens;
  }

  close(): void {
    this.#source?.then((source) => source.close(), () => {});
    this.#source = undefined;
  }
}

/** Tokens in memory as a {@linkcode TokenSource}; no copy is made. */
export function memoryShard(tokens: TokenArray, name = "tokens in memory"): TokenSource {
  return {
    name,
    length: tokens.length,
    read: (start, count) => Promise.resolve(tokens.subarray(start, start + count)),
    close: () => {},
  };
}

/** Options of {@linkcode ShardWriter}. */
export interface ShardWriterOptions {
  /** First part of the file names: `edufineweb` gives `edufineweb_train_000001.npy`. */
  prefix: string;
  /** Tokens of each shard but the last; 100,000,000 by default, as build-nanogpt's `fineweb.py`. */
  tokensPerShard?: number;
  /** Shards at the beginning that are named `val`, the rest `train`; 1 by default. */
  validationShards?: number;
  /** File format: NumPy's, or llm.c's `.bin`; `npy` by default. */
  format?: "npy" | "bin";
}

/**
 * Writes a stream of tokens as shards of equal size, named as build-nanogpt names them: shard 0 is
 * `<prefix>_val_000000.npy`, the ones after it `<prefix>_train_000001.npy` and so on. `close()`
 * writes the last, shorter one.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { findShards, ShardWriter, TokenLoader } from "@dinograd/dinograd";
 *
 * const folder = await Deno.makeTempDir();
 * const writer = new ShardWriter(folder, { prefix: "numbers", tokensPerShard: 4 });
 * await writer.write([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
 * await writer.close();
 *
 * const paths = await findShards(folder, { split: "train" });
 * assert.equal(paths.length, 2); // the first of three is for validation
 * {
 *   await using loader = await TokenLoader.open(paths, { batchSize: 1, contextSize: 5 });
 *   assert.deepEqual([...(await loader.next()).inputs], [4, 5, 6, 7, 8]);
 * }
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export class ShardWriter {
  /** Paths of the shards written so far. */
  readonly paths: string[] = [];
  #folder: string;
  #options: Required<ShardWriterOptions>;
  #buffer: Uint16Array;
  #used = 0;

  /** Makes a writer into an existing folder. */
  constructor(folder: string | URL, options: ShardWriterOptions) {
    this.#options = { tokensPerShard: 1e8, validationShards: 1, format: "npy", ...options };
    const { tokensPerShard } = this.#options;
    if (!Number.isSafeInteger(tokensPerShard) || tokensPerShard < 1) {
      throw new RangeError(`Expected tokensPerShard to be at least 1 but found ${tokensPerShard}`);
    }
    this.#folder = toPath(folder);
    this.#buffer = new Uint16Array(tokensPerShard);
  }

  /**
   * Adds tokens; writes a shard whenever one is full.
   *
   * @throws {RangeError} where an id does not fit into two bytes
   */
  async write(tokens: ArrayLike<number>): Promise<void> {
    for (let i = 0; i < tokens.length; i++) {
      const id = tokens[i];
      if (!(id >= 0 && id <= 0xffff)) {
        throw new RangeError(`Token id ${id} at index ${i} does not fit into uint16`);
      }
      this.#buffer[this.#used++] = id;
      if (this.#used === this.#buffer.length) await this.#flush();
    }
  }

  /** Writes what is left as a last shard, if anything is. */
  async close(): Promise<void> {
    if (this.#used > 0) await this.#flush();
  }

  async #flush(): Promise<void> {
    const { prefix, validationShards, format } = this.#options;
    const index = this.paths.length;
    const split = index < validationShards ? "val" : "train";
    const name = `${prefix}_${split}_${String(index).padStart(6, "0")}.${format}`;
    const path = join(this.#folder, name);
    const tokens = this.#buffer.subarray(0, this.#used);
    await (format === "npy" ? writeNpy(path, tokens) : writeLlmcTokens(path, tokens));
    this.paths.push(path);
    this.#used = 0;
  }
}
