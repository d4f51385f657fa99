import { join } from "../io/node_builtins.ts";
/**
 * The folders in which training runs keep their files.
 *
 * @module
 */

const LOCK = ".lock";

/**
 * A folder that belongs to this process until it is disposed of or the process ends, however it ends: the system holds
 * a lock on its file `.lock`. A second process that opens the folder is refused.
 *
 * @example
 * ```ts
 * import { RunFolder } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const runs = await Deno.makeTempDir();
 * {
 *   using first = await RunFolder.create(runs, "gpt2");
 *   using second = await RunFolder.create(runs, "gpt2");
 *   assert.deepEqual([first.path, second.path], [`${runs}/gpt2`, `${runs}/gpt2-2`]);
 *   await assert.rejects(RunFolder.open(first.path), /expected a folder that no run uses/);
 * }
 * await Deno.remove(runs, { recursive: true });
 * ```
 */
export class RunFolder implements Disposable {
  /** The path of the folder. */
  readonly path: string;
  readonly #lock: Deno.FsFile;

  private constructor(path: string, lock: Deno.FsFile) {
    this.path = path;
    this.#lock = lock;
  }

  /** Creates a new folder `parent/name`, or `parent/name-2` and so on if that exists already. */
  static async create(parent: string, name: string): Promise<RunFolder> {
    await Deno.mkdir(parent, { recursive: true });
    for (let count = 1;; count++) {
      const path = `${parent}/${name}${count > 1 ? `-${count}` : ""}`;
      try {
        await Deno.mkdir(path); // fails if another process was faster
      } catch (error) {
        if (error instanceof Deno.errors.AlreadyExists) continue;
        throw error;
      }
      return await RunFolder.open(path);
    }
  }

  /** Opens a folder, creating it if it is missing. Throws if this or another process has it open. */
  static async open(path: string): Promise<RunFolder> {
    await Deno.mkdir(path, { recursive: true });
    const name = join(path, LOCK);
    const lock = await Deno.open(name, { write: true, create: true });
    if (!await tryLock(lock)) {
      lock.close();
      const owner = (await Deno.readTextFile(name).catch(() => "")).trim();
      throw new Error(
        `expected a folder that no run uses but got ${path}${owner && `, of process ${owner}`}; ` +
          "wait for its end, or name another folder",
      );
    }
    await lock.truncate();
    await lock.write(new TextEncoder().encode(`${Deno.pid}\n`));
    return new RunFolder(path, lock);
  }

  /** Releases the folder. */
  [Symbol.dispose](): void {
    this.#lock.close();
  }
}

async function tryLock(file: Deno.FsFile): Promise<boolean> {
  try {
    return await file.tryLock(true);
  } catch {
    return true; // a file system without locks is no reason not to train
  }
}

/**
 * Returns the most recently changed folder in `parent` whose name begins with one of `prefixes`. Files and broken links
 * are skipped.
 */
export async function newestRun(
  parent: string,
  prefixes: readonly string[],
): Promise<string | undefined> {
  const found: { path: string; time: number }[] = [];
  for (const name of await namesIn(parent)) {
    const path = `${parent}/${name}`;
    if (!prefixes.some((prefix) => name.startsWith(prefix))) continue;
    const { isDirectory, mtime } = await Deno.stat(path).catch(noFile);
    if (isDirectory) found.push({ path, time: mtime?.getTime() ?? 0 });
  }
  return found.toSorted((a, b) => b.time - a.time)[0]?.path;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function noFile(): { isDirectory: boolean; mtime?: Date } {
  return { isDirectory: false }; // a broken link, or one that leads outside of what may be read
}
