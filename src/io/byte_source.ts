// A single way to read ranges of bytes, from a file on disk or from memory, so that every format has one reader. A
// length that is stored in a file never makes a reader load all of it.
import { fileURLToPath } from "./node_builtins.ts";
import { FileFormatError } from "./errors.ts";

/** Bytes that can be read by ranges. */
export interface ByteSource {
  /** A path, or a name for messages. */
  readonly name: string;
  /** The length in bytes. */
  readonly size: number;
  /**
   * Fills `target` from byte `offset` on.
   *
   * @throws {FileFormatError} where the source ends before `target` is full
   */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  /** Closes the file; a second call does nothing. */
  close(): void;
}

/** Returns the path of a string or `file:` URL. */
export function toPath(path: string | URL): string {
  return path instanceof URL ? fileURLToPath(path) : path;
}

/** Bytes in memory as a {@linkcode ByteSource}. */
export class MemorySource implements ByteSource {
  readonly name: string;
  readonly size: number;
  #bytes: Uint8Array;

  /** Wraps `bytes`, without a copy. */
  constructor(bytes: Uint8Array, name = "bytes in memory") {
    this.#bytes = bytes;
    this.name = name;
    this.size = bytes.byteLength;
  }

  // deno-lint-ignore require-await
  async readInto(target: Uint8Array, offset: number): Promise<void> {
    checkRange(this, target.byteLength, offset);
    target.set(this.#bytes.subarray(offset, offset + target.byteLength));
  }

  close(): void {}
}

/** A file on disk as a {@linkcode ByteSource}. Needs permission to read it. */
export class FileSource implements ByteSource, Disposable {
  readonly name: string;
  readonly size: number;
  #file: Deno.FsFile | undefined;
  // No other call's seek may come between a seek and its read.
  #last: Promise<unknown> = Promise.resolve();

  private constructor(file: Deno.FsFile, name: string, size: number) {
    this.#file = file;
    this.name = name;
    this.size = size;
  }

  /** Opens a file. */
  static async open(path: string | URL): Promise<FileSource> {
    const name = toPath(path);
    const file = await Deno.open(name, { read: true });
    try {
      const info = await file.stat();
      if (!info.isFile) {
        throw new FileFormatError("expected a plain file but got something else", { file: name });
      }
      return new FileSource(file, name, info.size);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  readInto(target: Uint8Array, offset: number): Promise<void> {
    const read = this.#last.then(() => this.#read(target, offset));
    this.#last = read.catch(() => {});
    return read;
  }

  async #read(target: Uint8Array, offset: number): Promise<void> {
    if (this.#file === undefined) {
      throw new Error(`${this.name}: expected an open file but got a closed one`);
    }
    checkRange(this, target.byteLength, offset);
    if (target.byteLength === 0) return;
    await this.#file.seek(offset, Deno.SeekMode.Start);
    for (let done = 0; done < target.byteLength;) {
      const count = await this.#file.read(target.subarray(done));
      if (count === null) {
        throw new FileFormatError(
          `expected ${target.byteLength - done} more bytes but got the file's end`,
          { file: this.name, offset: offset + done },
        );
      }
      done += count;
    }
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Closes the file at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens a path or URL, wraps bytes, or returns a source as it is. */
export async function openSource(
  from: string | URL | Uint8Array | ByteSource,
  name?: string,
): Promise<ByteSource> {
  if (from instanceof Uint8Array) return new MemorySource(from, name);
  if (typeof from === "string" || from instanceof URL) return await FileSource.open(from);
  return from;
}

function checkRange(source: ByteSource, length: number, offset: number): void {
  if (offset < 0 || offset + length > source.size) {
    throw new FileFormatError(
      `expected ${length} bytes from byte ${offset} but got a file of ${source.size}`,
      { file: source.name, offset },
    );
  }
}
