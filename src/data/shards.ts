// Token shards on disk: found by name, opened by format, read by ranges.
import { join } from "../io/node_builtins.ts";
import { type ByteSource, FileSource, toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { readLlmcHeader } from "../io/llmc_bin.ts";
import { readNpyHeader } from "../io/npy.ts";

/** A sequence of tokens that can be read by ranges; a loader reads several in order. */
export interface TokenSource {
  /** The path of the file, or a name for tokens in memory. */
  readonly name: string;
  /** The number of tokens. */
  readonly length: number;
  /** Reads `count` tokens from token `start` on. */
  read(start: number, count: number): Promise<TokenArray>;
  /** Closes the file until the next read. */
  close(): void;
}

/** Token ids: two bytes each suffice for GPT-2's, larger vocabularies need four. */
export type TokenArray = Uint16Array | Uint32Array | Int32Array;

/** Options of {@linkcode findShards}. */
export interface FindShardsOptions {
  /** Only shards with this part in their names, between underscores: `train`, `val`. */
  split?: string;
}

const SHARD_NAME = /^(.+)_(\d+)\.(npy|bin)$/;

/**
 * Returns the paths of the token shards in a folder, in the order of their numbers: files named like
 * `edufineweb_train_000001.npy`, or `.bin` for llm.c's format.
 *
 * @throws {Error} where the folder is missing, holds no such shard (the message says what it does
 * hold), or holds the same number twice, as `.npy` and as `.bin`
 */
export async function findShards(
  folder: string | URL,
  options?: FindShardsOptions,
): Promise<string[]> {
  const { split } = options ?? {};
  const path = toPath(folder);
  const found: { name: string; prefix: string; index: number }[] = [];
  const others: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(path)) {
      const match = SHARD_NAME.exec(name);
      const fits = match && !isDirectory &&
        (split === undefined || match[1]!.split("_").includes(split));
      if (fits) found.push({ name, prefix: match[1]!, index: Number(match[2]) });
      else others.push(name);
    }
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound) && !(cause instanceof Deno.errors.NotADirectory)) {
      throw cause;
    }
    const found = cause instanceof Deno.errors.NotFound ? "nothing there" : "a file";
    throw new Error(`${path}: expected a folder of token shards but got ${found}`, { cause });
  }
  if (found.length === 0) {
    const wanted = split === undefined ? "<name>_000001.npy" : `<name>_${split}_000001.npy`;
    const there = others.length === 0
      ? "nothing"
      : `${others.sort().slice(0, 3).join(", ")}${others.length > 3 ? ", ..." : ""}`;
    throw new Error(
      `${path}: expected token shards named like ${wanted} (or .bin) but got ${there}`,
    );
  }
  found.sort((a, b) => a.prefix < b.prefix ? -1 : a.prefix > b.prefix ? 1 : a.index - b.index);
  for (let i = 1; i < found.length; i++) {
    if (found[i]!.prefix === found[i - 1]!.prefix && found[i]!.index === found[i - 1]!.index) {
      throw new Error(
        `${path}: expected each shard once but got ${found[i - 1]!.name} and ${found[i]!.name}`,
      );
    }
  }
  return found.map(({ name }) => join(path, name));
}

/**
 * Opens a token shard: a one-dimensional `.npy` of uint16, uint32 or int32, or llm.c's `.bin`. Only the header is read,
 * and the file is held open only between a read and `close()`.
 *
 * @throws {FileFormatError} where the file is foreign, cut short, of another type, or holds no token
 */
export async function openShard(path: string | URL): Promise<TokenSource> {
  using source = await FileSource.open(path);
  const isNpy = source.name.endsWith(".npy");
  const layout = isNpy ? await npyLayout(source) : await llmcLayout(source);
  if (layout.length === 0) {
    throw new FileFormatError("expected tokens but got none", { file: source.name });
  }
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
      `expected one axis of u2, u4 or i4 but got ${dtype} of shape [${shape}]`,
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

/** Wraps tokens in memory as a {@linkcode TokenSource}, without a copy. */
export function memoryShard(tokens: TokenArray, name?: string): TokenSource {
  return {
    name: name ?? "tokens in memory",
    length: tokens.length,
    read: (start, count) => Promise.resolve(tokens.subarray(start, start + count)),
    close: () => {},
  };
}
