// A file appears under its name whole or not at all: written beside it under a temporary name,
// synced, renamed. The rename is atomic only within one folder, hence "beside it".
import { basename, dirname, join } from "node:path";
import { FileWriteError } from "./errors.ts";

/** The part of `Deno.FsFile` that a write needs; a test hands in one whose disk is full. */
export interface WritableFile {
  /** Writes some of the bytes and says how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Moves to a byte from the start. */
  seek(offset: number, whence: Deno.SeekMode): Promise<number>;
  /** Waits until all is on the disk. */
  sync(): Promise<void>;
  /** Closes the file. */
  close(): void;
}

/** What the writer callback of {@linkcode writeFileAtomically} writes to. */
export interface AtomicFile {
  /** Bytes written so far. */
  readonly bytesWritten: number;
  /** Writes all of the bytes at the end. */
  write(bytes: Uint8Array): Promise<void>;
  /** Writes all of the bytes over what stands at `offset`. */
  writeAt(bytes: Uint8Array, offset: number): Promise<void>;
}

/** Options of {@linkcode writeFileAtomically}. */
export interface AtomicWriteOptions {
  /** Bytes that the whole file will have, for the message when the disk is full. */
  bytesWanted?: number;
  /** Opens the temporary file; `Deno.open` by default. */
  open?: (path: string) => Promise<WritableFile>;
}

const TEMPORARY = /^\..+\.(\d+)-[0-9a-f]{8}\.tmp$/;

/**
 * Writes a file so that it appears whole or not at all, even when the process is killed or the
 * power fails: to a temporary file in the same folder, synced, renamed, the folder synced.
 *
 * @throws {FileWriteError} where writing fails (a full disk, no such folder); the temporary file is
 * removed, and what stood under `path` before still stands there. An error that `write` itself
 * throws is passed on as it is.
 */
export async function writeFileAtomically(
  path: string,
  write: (file: AtomicFile) => Promise<void>,
  options: AtomicWriteOptions = {},
): Promise<void> {
  const open = options.open ?? openNew;
  const unique = crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, "0");
  const temporary = join(dirname(path), `.${basename(path)}.${Deno.pid}-${unique}.tmp`);
  let written = 0;
  const attempt = async <T>(system: () => Promise<T>): Promise<T> => {
    try {
      return await system();
    } catch (cause) {
      throw new FileWriteError(path, {
        bytesWritten: written,
        bytesWanted: options.bytesWanted,
        cause,
      });
    }
  };

  const file = await attempt(() => open(temporary));
  let closed = false;
  try {
    await write({
      get bytesWritten() {
        return written;
      },
      write: (bytes) => attempt(() => writeAll(file, bytes, (count) => written += count)),
      writeAt: (bytes, offset) =>
        attempt(async () => {
          await file.seek(offset, 0);
          await writeAll(file, bytes);
          await file.seek(written, 0);
        }),
    });
    await attempt(() => file.sync());
    file.close();
    closed = true;
    await attempt(() => Deno.rename(temporary, path));
  } catch (error) {
    if (!closed) file.close();
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Removes the temporary files that killed processes left in a folder, and returns their names. Those
 * of this process are left alone: they may be in use.
 */
export async function removeStrayTemporaries(folder: string): Promise<string[]> {
  const removed: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const match = TEMPORARY.exec(entry.name);
    if (!entry.isFile || !match || Number(match[1]) === Deno.pid) continue;
    await Deno.remove(join(folder, entry.name));
    removed.push(entry.name);
  }
  return removed;
}

function openNew(path: string): Promise<WritableFile> {
  return Deno.open(path, { write: true, createNew: true });
}

async function writeAll(
  file: WritableFile,
  bytes: Uint8Array,
  onWritten?: (count: number) => void,
): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const count = await file.write(bytes.subarray(done));
    done += count;
    onWritten?.(count);
  }
}

// The rename itself is safe only once the folder is on the disk. Windows cannot open a folder, and
// there the rename is journalled anyway.
async function syncFolder(folder: string): Promise<void> {
  try {
    using handle = await Deno.open(folder, { read: true });
    await handle.sync();
  } catch {
    // Nothing to be done: the file is whole under its name.
  }
}
