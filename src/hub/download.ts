// Downloads that can be interrupted and resumed, by several callers and processes at once.
import { createHash, dirname, join, resolve } from "../io/node_builtins.ts";
import { writeFileAtomically } from "../io/atomic_file.ts";
import { toPath } from "../io/byte_source.ts";
import { FileWriteError } from "../io/errors.ts";
import { fileSize } from "../io/file_size.ts";
import {
  describe,
  DownloadError,
  Exchange,
  type HttpOptions,
  pause,
  TransientError,
  withRetries,
} from "./http.ts";

export { DownloadError, type HttpOptions } from "./http.ts";

/** Options of {@linkcode download}. */
export interface DownloadOptions extends HttpOptions {
  /** The length that the file must have, in bytes. Default: not checked. */
  bytes?: number;
  /** The SHA-256 that the file must have, as 64 hexadecimal digits. Default: not checked. */
  sha256?: string | undefined;
  /**
   * The hash of the file in git: SHA-1, as 40 hexadecimal digits, over a header and the content. Default: not checked.
   */
  gitHash?: string | undefined;
  /** Called with each response, including redirects, before its body is read; if it throws, the download ends. */
  onResponse?: (response: Response) => void;
  /** Called with the bytes so far, and with the length of the file if it is known. */
  onProgress?: ((done: number, total: number | undefined) => void) | undefined;
}

/** The bytes after which a download counts as making progress, and the retries are counted anew. */
const PROGRESS_BYTES = 2 ** 20;
/** The milliseconds between two checks whether another download of the same file has ended. */
const LOCK_INTERVAL = 100;

/** The paths that this process is downloading to. */
const underWay = new Set<string>();

/**
 * Downloads a file to a path and returns the path. An existing file with the right length and hash is left as it is.
 * The data is first written to `<path>.part`: an interrupted download is resumed where it ended, in this call or a
 * later one, and `path` appears only when the file is complete and its hash is right. Without a hash to check, it is
 * resumed only if the server says that the file is still the same (`ETag` or `Last-Modified`, kept in
 * `<path>.part.version`).
 *
 * Several calls for one path, also in several processes, download once: the others wait. Needs `--allow-net` for the
 * host, and `--allow-read` and `--allow-write` for the folder, which is created if it is missing.
 *
 * @throws {DownloadError} where the server refuses, the retries are used up, or length or hash are
 * wrong a second time
 * @throws {FileWriteError} where the disk is full
 */
export async function download(
  url: string | URL,
  path: string | URL,
  options?: DownloadOptions,
): Promise<string> {
  const { signal } = options ?? {};
  const target = resolve(toPath(path));
  while (underWay.has(target)) await pause(LOCK_INTERVAL, signal);
  underWay.add(target);
  try {
    if (await problemOf(target, options ?? {}) === undefined) return toPath(path);
    await Deno.mkdir(dirname(target), { recursive: true });
    using part = await Part.open(target, signal);
    try {
      // Another process may have downloaded it in the meantime.
      if (await problemOf(target, options ?? {}) !== undefined) {
        await fetchInto(part, String(url), options ?? {});
        await part.finish();
      }
    } finally {
      await part.discardIfEmpty();
    }
  } finally {
    underWay.delete(target);
  }
  return toPath(path);
}

/**
 * Returns the folder in which downloads are kept: `$DINOGRAD_CACHE`, or `dinograd` in the platform's folder for caches
 * (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`). Needs `--allow-env` for these variables.
 *
 * @throws {Error} where none of them is set
 */
export function cacheFolder(): string {
  const own = Deno.env.get("DINOGRAD_CACHE");
  if (own) return own;
  const folder = platformCache();
  if (!folder) {
    throw new Error(
      "cacheFolder: expected a home folder to keep downloads in but got none; set DINOGRAD_CACHE",
    );
  }
  return join(folder, "dinograd");
}

function platformCache(): string | undefined {
  if (Deno.build.os === "windows") return Deno.env.get("LOCALAPPDATA");
  const home = Deno.env.get("HOME");
  if (Deno.build.os === "darwin") return home && join(home, "Library", "Caches");
  return Deno.env.get("XDG_CACHE_HOME") || (home && join(home, ".cache"));
}

/** The partial file of a download, locked against other processes; the lock ends with the process. */
class Part implements Disposable {
  readonly path: string;
  readonly #target: string;
  readonly #file: Deno.FsFile;

  private constructor(target: string, file: Deno.FsFile) {
    this.#target = target;
    this.path = `${target}.part`;
    this.#file = file;
  }

  /** Opens it, waiting for as long as another process downloads the same file. */
  static async open(target: string, signal: AbortSignal | undefined): Promise<Part> {
    const path = `${target}.part`;
    for (let said = false;;) {
      const file = await Deno.open(path, { read: true, write: true, create: true });
      try {
        while (!await file.tryLock(true)) {
          if (!said) console.error(`${target}: waiting for another process that downloads it`);
          said = true;
          await pause(LOCK_INTERVAL, signal);
        }
        // The locked file may have been renamed or removed by the process that had the lock before.
        const { ino } = await file.stat();
        if (ino === await inodeOf(path)) return new Part(target, file);
        file.close();
      } catch (error) {
        file.close();
        throw error;
      }
    }
  }

  async size(): Promise<number> {
    return (await this.#file.stat()).size;
  }

  /** Truncates it to a length and moves to its end. */
  async truncate(length: number): Promise<void> {
    await this.#file.truncate(length);
    await this.#file.seek(length, Deno.SeekMode.Start);
  }

  async write(bytes: Uint8Array, bytesWritten: number, bytesWanted?: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.byteLength;) {
        done += await this.#file.write(bytes.subarray(done));
      }
    } catch (cause) {
      throw new FileWriteError(this.path, { bytesWritten, bytesWanted, cause });
    }
  }

  /** Returns what is wrong with the partial file; undefined if it is complete and correct. */
  problem(options: DownloadOptions): Promise<string | undefined> {
    return problemIn(this.#file, options);
  }

  /** Returns the version of the file that the part began with; undefined if it is not known. */
  async version(): Promise<string | undefined> {
    try {
      return await Deno.readTextFile(`${this.path}.version`);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  async setVersion(version: string | undefined): Promise<void> {
    const file = `${this.path}.version`;
    if (version === undefined) return await removeIfThere(file);
    const bytes = new TextEncoder().encode(version);
    await writeFileAtomically(file, (out) => out.write(bytes));
  }

  /** Renames it to the downloaded file. */
  async finish(): Promise<void> {
    await this.setVersion(undefined);
    await Deno.rename(this.path, this.#target);
  }

  /** Removes the partial file if nothing was received. */
  async discardIfEmpty(): Promise<void> {
    const { size, ino } = await this.#file.stat();
    if (size > 0 || ino !== await inodeOf(this.path)) return;
    await this.setVersion(undefined);
    await removeIfThere(this.path);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Completes a partial file, so that its length and hash are right. */
async function fetchInto(part: Part, url: string, options: DownloadOptions): Promise<void> {
  // A wrong file may have been put together from two versions; the second time it is downloaded in one piece.
  for (let again = true;; again = false) {
    await withRetries(url, options, (progressed) => fetchRest(url, part, options, progressed));
    const problem = await part.problem(options);
    if (problem === undefined) return;
    await part.truncate(0);
    if (!again) throw new DownloadError(url, problem);
  }
}

/** Appends the missing rest to a partial file, in one request. */
async function fetchRest(
  url: string,
  part: Part,
  options: DownloadOptions,
  progressed: () => void,
): Promise<void> {
  const { bytes: wanted, sha256, gitHash } = options;
  const checked = sha256 !== undefined || gitHash !== undefined;
  const version = checked ? undefined : await part.version();
  let have = await part.size();
  if (wanted !== undefined && have > wanted) have = 0;
  if (!checked && version === undefined) have = 0; // the server may have another version now
  if (have > 0 && have === wanted && checked) return;

  using exchange = new Exchange(options);
  const response = await exchange.get(url, {
    "accept-encoding": "identity", // lengths count the bytes of the file
    ...(have > 0 && { range: `bytes=${have}-` }),
    ...(have > 0 && version !== undefined && { "if-range": version }),
  }, options.onResponse);
  const { status } = response;
  const start = startOf(response);
  const found = versionOf(response);
  if (start === 0) {
    await part.truncate(0);
    await part.setVersion(checked ? undefined : found);
    return await append(part, 0, response, exchange, options, progressed);
  }
  if (start === have && (checked || found === version)) {
    return await append(part, have, response, exchange, options, progressed);
  }
  await response.body?.cancel();
  if (have === 0 || (status !== 416 && status !== 206)) {
    throw new DownloadError(url, describe(response), { status });
  }
  await part.truncate(0);
  throw new TransientError(`expected the file that was begun, of ${have} bytes, but got another`);
}

/** Writes the body of a response into a partial file, from byte `have` on. */
async function append(
  part: Part,
  have: number,
  response: Response,
  exchange: Exchange,
  { bytes: wanted, onProgress }: DownloadOptions,
  progressed: () => void,
): Promise<void> {
  const total = wanted ?? totalOf(response);
  await part.truncate(have);
  onProgress?.(have, total);
  let counted = have;
  for await (const piece of exchange.read(response)) {
    if (wanted !== undefined && have + piece.byteLength > wanted) {
      throw new DownloadError(response.url, `expected ${wanted} bytes but got more`);
    }
    await part.write(piece, have, total);
    have += piece.byteLength;
    onProgress?.(have, total);
    if (have - counted >= PROGRESS_BYTES) {
      progressed();
      counted = have;
    }
  }
  if (total !== undefined && have < total) {
    throw new TransientError(`expected ${total} bytes but got ${have} before the connection ended`);
  }
}

/** Returns the offset in the file at which a response begins; undefined if it holds no part of the file. */
function startOf({ status, headers }: Response): number | undefined {
  if (status !== 206) return status === 200 ? 0 : undefined;
  const match = /^bytes (\d+)-/.exec(headers.get("content-range") ?? "");
  return match ? Number(match[1]) : undefined;
}

/** Returns the length of the file according to a response, if it says. */
function totalOf({ status, headers }: Response): number | undefined {
  const text = status === 206
    ? /^bytes \d+-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1]
    : headers.get("content-encoding") === null
    ? headers.get("content-length")
    : undefined;
  return text ? Number(text) : undefined;
}

/**
 * Returns what distinguishes this version of a file from others, for `If-Range`: a strong ETag, or the date of the last
 * change.
 */
function versionOf({ headers }: Response): string | undefined {
  const etag = headers.get("etag");
  return (etag?.startsWith('"') ? etag : headers.get("last-modified")) ?? undefined;
}

/** Returns what is wrong with a file; undefined if it exists and is correct. */
async function problemOf(path: string, options: DownloadOptions): Promise<string | undefined> {
  if (await fileSize(path) === undefined) return "is not there";
  using file = await Deno.open(path, { read: true });
  return await problemIn(file, options);
}

async function problemIn(
  file: Deno.FsFile,
  { bytes, sha256, gitHash }: DownloadOptions,
): Promise<string | undefined> {
  const { size } = await file.stat();
  if (bytes !== undefined && size !== bytes) return `expected ${bytes} bytes but got ${size}`;
  if (sha256 === undefined && gitHash === undefined) return undefined;
  const sha = createHash("sha256");
  const git = createHash("sha1").update(`blob ${size}\0`);
  const buffer = new Uint8Array(2 ** 20);
  await file.seek(0, Deno.SeekMode.Start);
  for (let count; (count = await file.read(buffer)) !== null;) {
    if (sha256 !== undefined) sha.update(buffer.subarray(0, count));
    if (gitHash !== undefined) git.update(buffer.subarray(0, count));
  }
  for (
    const [name, expected, hash] of [["SHA-256", sha256, sha], ["git hash", gitHash, git]] as const
  ) {
    const found = expected === undefined ? undefined : hash.digest("hex");
    if (found !== expected) return `expected ${name} ${expected} but got ${found}`;
  }
  return undefined;
}

async function inodeOf(path: string): Promise<number | null | undefined> {
  try {
    return (await Deno.stat(path)).ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
