// Downloads that can be broken off and taken up again, and that are what they claim to be.
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { toPath } from "../io/byte_source.ts";
import { FileWriteError } from "../io/errors.ts";
import { fileSize } from "../io/file_size.ts";
import { pause } from "./retry.ts";

/** Options of {@linkcode download}. */
export interface DownloadOptions {
  /** Length that the file must have, in bytes; not checked where left out. */
  bytes?: number;
  /** SHA-256 that the file must have, as 64 hexadecimal digits; not checked where left out. */
  sha256?: string;
  /** Sent to the server as a bearer token, but not to another that it sends us on to. */
  token?: string;
  /** How often to try again after a failure that may pass; 4 by default. */
  retries?: number;
  /**
   * Wait before the first retry in milliseconds, doubled for each further one up to a minute; 500 by default. Where the
   * server says how long to wait (`Retry-After`), that is kept to, up to an hour.
   */
  retryDelay?: number;
  /** Longest wait for the next bytes in milliseconds, before it tries again; 60,000 by default. */
  stallTimeout?: number;
  /** Called with the bytes so far, and with the whole length where it is known. */
  onProgress?: (done: number, total: number | undefined) => void;
  /** Breaks the download off; what has come stays for the next call. */
  signal?: AbortSignal;
}

/** A download failed for good; what has come so far stays beside the path, for the next call. */
export class DownloadError extends Error {
  /** Name of the class, as messages show it. */
  override name = "DownloadError";
  /** Where it was to come from. */
  readonly url: string;
  /** The status that the server answered with, where that is what went wrong. */
  readonly status: number | undefined;

  /** Makes the error; `message` says what went wrong, without the address. */
  constructor(
    url: string,
    message: string,
    { status, ...options }: ErrorOptions & { status?: number } = {},
  ) {
    super(`${url}: ${message}`, options);
    this.url = url;
    this.status = status;
  }
}

/** A failure that may pass: a lost connection, a busy server. */
class PassingError extends Error {
  /** The answer of a busy server. */
  readonly response: Response | undefined;

  constructor(
    message: string,
    { response, ...options }: ErrorOptions & { response?: Response } = {},
  ) {
    super(message, options);
    this.response = response;
  }
}

/**
 * Downloads a file to a path and returns the path. A file that already stands there with the right
 * length and hash is left as it is. What comes goes to `<path>.part` first: a broken-off download is
 * taken up where it ended, in this call or in a later one, and `path` appears only when the whole
 * file is there and its hash is right. Needs `--allow-net` for the host and `--allow-read` and
 * `--allow-write` for the folder, which is made where it is missing.
 *
 * @throws {DownloadError} where the server refuses, the retries are used up, or length or hash are
 * wrong
 * @throws {FileWriteError} where the disk is full
 */
export async function download(
  url: string | URL,
  path: string | URL,
  options: DownloadOptions = {},
): Promise<string> {
  const { retries = 4, retryDelay = 500, signal } = options;
  const target = toPath(path);
  const part = `${target}.part`;
  if (await problemOf(target, options) === undefined) return target;
  await Deno.mkdir(dirname(target), { recursive: true });

  for (let attempt = 0;; attempt++) {
    try {
      await fetchRest(String(url), part, options);
      break;
    } catch (error) {
      if (signal?.aborted || !(error instanceof PassingError)) throw error;
      if (attempt >= retries) {
        const times = attempt === 0 ? "" : ` (tried ${attempt + 1} times)`;
        const { cause, response } = error;
        throw new DownloadError(String(url), `${error.message}${times}`, {
          cause,
          status: response?.status,
        });
      }
      const retryAfter = error.response?.headers.get("retry-after");
      await pause(attempt, { delay: retryDelay, retryAfter, signal });
    }
  }

  const problem = await problemOf(part, options);
  if (problem !== undefined) {
    await Deno.remove(part); // what is wrong as a whole is no good to go on from
    throw new DownloadError(String(url), problem);
  }
  await Deno.rename(part, target);
  return target;
}

/**
 * The folder where downloads are kept: `$DINOGRAD_CACHE`, or `dinograd` in the platform's folder for
 * caches (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`). Needs `--allow-env`
 * for these variables.
 *
 * @throws {Error} where none of them is set
 */
export function cacheFolder(): string {
  const own = Deno.env.get("DINOGRAD_CACHE");
  if (own) return own;
  const folder = platformCache();
  if (!folder) throw new Error("There is no home folder to keep downloads in; set DINOGRAD_CACHE");
  return join(folder, "dinograd");
}

function platformCache(): string | undefined {
  if (Deno.build.os === "windows") return Deno.env.get("LOCALAPPDATA");
  const home = Deno.env.get("HOME");
  if (Deno.build.os === "darwin") return home && join(home, "Library", "Caches");
  return Deno.env.get("XDG_CACHE_HOME") || (home && join(home, ".cache"));
}

/** Appends to `part` what is still missing of it. */
async function fetchRest(url: string, part: string, options: DownloadOptions): Promise<void> {
  const { bytes: wanted, sha256 } = options;
  let have = await fileSize(part) ?? 0;
  if (wanted !== undefined && have > wanted) {
    await Deno.remove(part);
    have = 0;
  }
  if (have > 0 && have === wanted) return;

  const link = new Link(options);
  const headers = new Headers({ "accept-encoding": "identity" }); // lengths count the file's bytes
  if (have > 0) headers.set("range", `bytes=${have}-`);
  if (options.token !== undefined) headers.set("authorization", `Bearer ${options.token}`);
  const response = await link.wait(() => fetch(url, { headers, signal: link.signal }));
  if (response.status === 200 || (response.status === 206 && startOf(response) === have)) {
    return await saveBody(response, part, response.status === 206 ? have : 0, link, options);
  }

  await response.body?.cancel();
  if (response.status === 416) {
    // There is nothing after what is there: it is whole, or was begun from another file.
    if (wanted === undefined && sha256 === undefined) return;
    await Deno.remove(part);
    throw new PassingError("the server has another file than the one begun");
  }
  if (response.status === 206) {
    throw new DownloadError(url, "the server sent another part of the file than was asked for");
  }
  const message = `the server answered ${response.status} ${response.statusText}`.trim();
  const mayPass = response.status >= 500 || response.status === 429 || response.status === 408;
  if (mayPass) throw new PassingError(message, { response });
  throw new DownloadError(url, message, { status: response.status });
}

/** Writes what a response brings into `part`, from byte `have` on. */
async function saveBody(
  response: Response,
  part: string,
  have: number,
  link: Link,
  { bytes: wanted, onProgress }: DownloadOptions,
): Promise<void> {
  const length = Number(response.headers.get("content-length") ?? NaN);
  const total = wanted ?? (Number.isFinite(length) ? have + length : undefined);
  const reader = response.body?.getReader();
  try {
    using file = await Deno.open(part, { create: true, write: true });
    await file.truncate(have);
    await file.seek(0, Deno.SeekMode.End);
    onProgress?.(have, total);
    for (;;) {
      const chunk = await link.wait(async () => await reader?.read());
      if (chunk === undefined || chunk.done) break;
      if (wanted !== undefined && have + chunk.value.byteLength > wanted) {
        throw new DownloadError(response.url, `sent more than the ${wanted} bytes expected`);
      }
      for (let rest = chunk.value; rest.byteLength > 0;) {
        const count = await writing(part, have, total, () => file.write(rest));
        rest = rest.subarray(count);
        have += count;
      }
      onProgress?.(have, total);
    }
  } finally {
    await reader?.cancel().catch(() => {}); // nothing to cancel where all has come
  }
  if (total !== undefined && have < total) {
    throw new PassingError(`the connection ended after ${have} of ${total} bytes`);
  }
}

/** The network side of one attempt: tells failures that may pass from those that will not. */
class Link {
  /** Ends the attempt: the caller wants it so, or nothing comes any more. */
  readonly signal: AbortSignal;
  #caller: AbortSignal | undefined;
  #stalled = new AbortController();
  #stallTimeout: number;

  constructor({ signal, stallTimeout = 60_000 }: DownloadOptions) {
    this.#caller = signal;
    this.#stallTimeout = stallTimeout;
    this.signal = AbortSignal.any([this.#stalled.signal, ...(signal ? [signal] : [])]);
  }

  /** Waits for a piece of network work, but not for ever. */
  async wait<T>(work: () => Promise<T>): Promise<T> {
    const stalled = new Error(`nothing came for ${this.#stallTimeout} ms`);
    const timer = setTimeout(() => this.#stalled.abort(stalled), this.#stallTimeout);
    try {
      return await work();
    } catch (cause) {
      if (this.#caller?.aborted || cause instanceof Deno.errors.NotCapable) throw cause;
      throw new PassingError((cause as Error).message, { cause });
    } finally {
      clearTimeout(timer);
    }
  }
}

async function writing<T>(
  file: string,
  bytesWritten: number,
  bytesWanted: number | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new FileWriteError(file, { bytesWritten, bytesWanted, cause });
  }
}

/** First byte of a partial response: `content-range: bytes 100-199/200`. */
function startOf(response: Response): number | undefined {
  const match = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "");
  return match ? Number(match[1]) : undefined;
}

/** What is wrong with a file as a whole; `undefined` where it is there and right. */
async function problemOf(path: string, options: DownloadOptions): Promise<string | undefined> {
  const size = await fileSize(path);
  if (size === undefined) return "is not there";
  if (options.bytes !== undefined && size !== options.bytes) {
    return `expected ${options.bytes} bytes but found ${size}`;
  }
  if (options.sha256 === undefined) return undefined;
  const hash = createHash("sha256");
  using file = await Deno.open(path, { read: true });
  for await (const chunk of file.readable) hash.update(chunk);
  const digest = hash.digest("hex");
  return digest === options.sha256
    ? undefined
    : `expected SHA-256 ${options.sha256} but found ${digest}`;
}
