// Atomic writes: a file appears under its name whole or not at all. It is written beside it under a temporary name,
// synced and renamed; the rename is atomic only within one folder, hence "beside it".
import { basename, dirname, join } from "./node_builtins.ts";
import { FileWriteError } from "./errors.ts";

/** The part of `Deno.FsFile` that a write needs; tests pass in one whose disk is full. */
export interface WritableFile {
  /** Writes some of the bytes and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Moves to a byte offset from the start. */
  seek(offset: number, whence: Deno.SeekMode): Promise<number>;
  /** Waits until everything is on disk. */
  sync(): Promise<void>;
  /** Closes the file. */
  close(): void;
}

/** The file that {@linkcode writeFileAtomically} passes to its callback. */
export interface AtomicFile {
  /** The number of bytes written so far. */
  readonly bytesWritten: number;
  /** Appends all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Overwrites the bytes at `offset`. */
  writeAt(bytes: Uint8Array, offset: number): Promise<void>;
}

/** Options of {@linkcode writeFileAtomically}. */
export interface AtomicWriteOptions {
  /** The size of the whole file in bytes, for the message when the disk is full. */
  bytesWanted?: number | undefined;
  /** Opens the temporary file. Default: `Deno.open`. */
  open?: ((path: string) => Promise<WritableFile>) | undefined;
}

const TEMPORARY = /^\..+\.dinograd-[0-9a-f]{16}\.tmp$/;
/** Temporary files that this process is writing; removed if it ends before they are renamed. */
const inUse = new Set<string>();

/**
 * Writes a file so that it appears whole or not at all, even if the process is killed or the power fails: it is written
 * to a temporary file in the same folder, synced and renamed, and the folder is synced.
 *
 * @throws {FileWriteError} where writing fails (a full disk, no such folder); the temporary file is
 * removed, and what stood under `path` before still stands there. An error that `write` itself
 * throws is passed on as it is.
 */
export async function writeFileAtomically(
  path: string,
  write: (file: AtomicFile) => Promise<void>,
  options?: AtomicWriteOptions,
): Promise<void> {
  const open = options?.open ?? openNew;
  const unique = crypto.getRandomValues(new Uint8Array(8)).toHex();
  const temporary = join(dirname(path), `.${basename(path)}.dinograd-${unique}.tmp`);
  let written = 0;
  const attempt = async <T>(system: () => Promise<T>): Promise<T> => {
    try {
      return await system();
    } catch (cause) {
      throw new FileWriteError(path, {
        bytesWritten: written,
        bytesWanted: options?.bytesWanted,
        cause,
      });
    }
  };

  addEventListener("unload", removeInUse);
  inUse.add(temporary);
  let file: WritableFile | undefined;
  try {
    const target = file = await attempt(() => open(temporary));
    await write({
      get bytesWritten() {
        return written;
      },
      write: (bytes) => attempt(() => writeAll(target, bytes, (count) => written += count)),
      writeAt: (bytes, offset) =>
        attempt(async () => {
          await target.seek(offset, Deno.SeekMode.Start);
          await writeAll(target, bytes);
          await target.seek(written, Deno.SeekMode.Start);
        }),
    });
    await attempt(() => target.sync());
    // Closed after the rename: until then its lock marks it as in use.
    await attempt(() => Deno.rename(temporary, path));
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  } finally {
    file?.close();
    inUse.delete(temporary);
  }
  await syncFolder(dirname(path));
}

/**
 * Removes the temporary files that killed processes left in a folder, and returns their names. Files that are being
 * written, by this process or another, are locked and stay.
 */
export async function removeStrayTemporaries(folder: string): Promise<string[]> {
  const removed: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (!entry.isFile || !TEMPORARY.test(entry.name)) continue;
    const path = join(folder, entry.name);
    if (await removeUnlessLocked(path)) removed.push(entry.name);
  }
  return removed;
}

/** The system releases the lock of a process however it ends, so a file without a lock is a leftover. */
async function removeUnlessLocked(path: string): Promise<boolean> {
  try {
    using file = await Deno.open(path, { write: true });
    if (!await file.tryLock(true)) return false;
    await Deno.remove(path);
    return true;
  } catch {
    return false; // renamed or removed meanwhile, another user's, or on a file system without locks
  }
}

/** Opens a new file and locks it. */
async function openNew(path: string): Promise<WritableFile> {
  for (;;) {
    const file = await Deno.open(path, { write: true, createNew: true });
    try {
      await file.lock(true);
    } catch {
      return file; // a file system without locks, where nobody removes it either
    }
    // Before it was locked, another process may have taken it for a leftover and removed it.
    if ((await file.stat()).nlink !== 0) return file;
    file.close();
  }
}

function removeInUse(): void {
  for (const path of inUse) {
    try {
      Deno.removeSync(path);
    } catch {
      // Not created yet, or renamed already.
    }
  }
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

// The rename itself is only safe once the folder is on disk. Windows cannot open a folder, but journals the rename
// anyway.
async function syncFolder(folder: string): Promise<void> {
  try {
    using handle = await Deno.open(folder, { read: true });
    await handle.sync();
  } catch {
    // Nothing can be done: the file is whole under its name.
  }
}
