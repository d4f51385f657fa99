/**
 * HTTP for downloads: retries, redirects, and limits on what a server may do.
 *
 * @module
 */

import { parseJson } from "../io/json_text.ts";

/** Options of HTTP requests. */
export interface HttpOptions {
  /** Sent to the server as a bearer token, but not to another server that it redirects to. */
  token?: string | undefined;
  /** The number of consecutive retries after a failure that may be temporary. Default: 4. */
  retries?: number;
  /**
   * The wait before the first retry in milliseconds, doubled for each further one up to a minute. If the server says
   * how long to wait (`Retry-After`), that is respected, up to an hour. Default: 500.
   */
  retryDelay?: number;
  /**
   * The maximum wait for a response, and for the next bytes, in milliseconds. In each such span at least 1 KiB per
   * second has to arrive, or the attempt counts as failed. Default: 60,000.
   */
  stallTimeout?: number;
  /** Aborts the download; what it received is kept for the next call. */
  signal?: AbortSignal | undefined;
}

/** A download that failed for good; what was received is kept beside the path for the next call. */
export class DownloadError extends Error {
  /** The name of the class, as messages show it. */
  override name = "DownloadError";
  /** The address of the download. */
  readonly url: string;
  /** The status of the response, if that is what went wrong. */
  readonly status: number | undefined;

  /** Creates the error; `message` says what went wrong, without the address. */
  constructor(
    url: string,
    message: string,
    options?: ErrorOptions & { status?: number | undefined },
  ) {
    super(`${url}: ${message}`, options);
    this.url = url;
    this.status = options?.status;
  }
}

/** A failure that may be temporary: a lost connection, a busy server. */
export class TransientError extends Error {
  /** The response of a busy server. */
  readonly response: Response | undefined;

  constructor(
    message: string,
    options?: ErrorOptions & { response?: Response },
  ) {
    super(message, options);
    this.response = options?.response;
  }
}

const MAX_REDIRECTS = 10;
/** The bytes per second below which a connection counts as stalled: a body that trickles would never end. */
const MIN_RATE = 1024;

/**
 * Runs `attempt` until it succeeds, fails with anything but a {@linkcode TransientError}, or the retries are used up.
 * Calling `progressed` resets the count, so that a slow download that makes progress is not given up.
 *
 * @throws {DownloadError} where the retries are used up
 */
export async function withRetries<T>(
  url: string,
  { retries = 4, retryDelay = 500, signal }: HttpOptions,
  attempt: (progressed: () => void) => Promise<T>,
): Promise<T> {
  for (let failures = 0;;) {
    try {
      return await attempt(() => failures = 0);
    } catch (error) {
      if (signal?.aborted || !(error instanceof TransientError)) throw error;
      const { message, cause, response } = error;
      if (failures++ >= retries) {
        const times = failures === 1 ? "" : ` (tried ${failures} times)`;
        throw new DownloadError(url, `${message}${times}`, { cause, status: response?.status });
      }
      const asked = Math.min(3_600_000, retryAfterMs(response?.headers.get("retry-after")));
      await pause(Math.max(asked, Math.min(60_000, retryDelay * 2 ** (failures - 1))), signal);
    }
  }
}

/** Waits for some milliseconds; rejects with the signal's reason once it is aborted. */
export function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (signal?.aborted) return Promise.reject(signal.reason);
  const stop = () => (clearTimeout(timer), reject(signal?.reason));
  const timer = setTimeout(() => {
    signal?.removeEventListener("abort", stop);
    resolve();
  }, milliseconds);
  signal?.addEventListener("abort", stop, { once: true });
  return promise;
}

/** `Retry-After` holds seconds, or a date. */
function retryAfterMs(text: string | null | undefined): number {
  if (!text) return 0;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

/** One request and its response, which has to keep arriving. */
export class Exchange implements Disposable {
  readonly #options: HttpOptions;
  readonly #stalled = new AbortController();
  readonly #signal: AbortSignal;
  readonly #stallTimeout: number;

  /** Takes the options of the download. */
  constructor(options: HttpOptions) {
    this.#options = options;
    this.#stallTimeout = options.stallTimeout ?? 60_000;
    const { signal } = options;
    this.#signal = AbortSignal.any([this.#stalled.signal, ...(signal ? [signal] : [])]);
  }

  /**
   * Returns the response to a GET request, with any status but 408, 429 and 5xx. Follows redirects; `check` sees each
   * response first. Follows only http and https, never from https to http, and drops the token when the origin changes.
   *
   * @throws {TransientError} where there is none, or the server is busy
   * @throws {DownloadError} where it redirects to where we do not go
   */
  async get(
    url: string,
    headers: Record<string, string> = {},
    check?: (response: Response) => void,
  ): Promise<Response> {
    let at = new URL(url);
    let { token } = this.#options;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      if (!/^https?:$/.test(at.protocol)) {
        throw new DownloadError(url, `expected an address of http or https but got ${at.href}`);
      }
      const response = await this.#within(() =>
        fetch(at, {
          headers: { ...headers, ...(token && { authorization: `Bearer ${token}` }) },
          redirect: "manual",
          signal: this.#signal,
        })
      );
      try {
        const { status } = response;
        if (status >= 500 || status === 429 || status === 408) {
          throw new TransientError(describe(response), { response });
        }
        check?.(response);
        const location = [301, 302, 303, 307, 308].includes(status) &&
          response.headers.get("location");
        if (!location) return response;
        const next = URL.parse(location, at);
        if (!next || (at.protocol === "https:" && next.protocol === "http:")) {
          const shown = location.slice(0, 200);
          const kind = at.protocol === "https:" ? "https" : "http";
          throw new DownloadError(
            url,
            `expected a redirect to an ${kind} address but got ${shown}`,
          );
        }
        if (next.origin !== at.origin) token = undefined;
        at = next;
      } catch (error) {
        await response.body?.cancel();
        throw error;
      }
      await response.body?.cancel();
    }
    throw new DownloadError(url, `expected at most ${MAX_REDIRECTS} redirects but got more`);
  }

  /**
   * Yields the pieces of a body.
   *
   * @throws {TransientError} where the connection is lost or stalls
   */
  async *read(response: Response): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const reader = response.body?.getReader();
    let windowEnd = performance.now() + this.#stallTimeout;
    let windowBytes = 0;
    try {
      for (;;) {
        const piece = await this.#within(async () => await reader?.read());
        if (piece === undefined || piece.done) return;
        yield piece.value;
        windowBytes += piece.value.byteLength;
        const now = performance.now();
        if (now < windowEnd) continue;
        const minBytes = MIN_RATE * this.#stallTimeout / 1000;
        if (windowBytes < minBytes) {
          throw new TransientError(
            `expected ${MIN_RATE} bytes per second or more but got ${windowBytes} in ${this.#stallTimeout} ms`,
          );
        }
        windowEnd = now + this.#stallTimeout;
        windowBytes = 0;
      }
    } finally {
      await reader?.cancel().catch(() => {}); // nothing to cancel after the last byte
    }
  }

  /** Ends whatever is still in progress. */
  [Symbol.dispose](): void {
    this.#stalled.abort();
  }

  /** Waits for network work, but not for ever. */
  async #within<T>(work: () => Promise<T>): Promise<T> {
    const stalled = new Error(`nothing came for ${this.#stallTimeout} ms`);
    const timer = setTimeout(() => this.#stalled.abort(stalled), this.#stallTimeout);
    try {
      return await work();
    } catch (cause) {
      if (this.#options.signal?.aborted || cause instanceof Deno.errors.NotCapable) throw cause;
      throw new TransientError((cause as Error).message, { cause });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Returns the status of a response for a message. */
export function describe(response: Response): string {
  return `expected the file but the server answered ${response.status} ${response.statusText}`
    .trim();
}

/**
 * Returns the JSON at an address, with the headers of the response.
 *
 * @throws {DownloadError} where the server refuses, sends no JSON, or more than `maxBytes` of it
 */
export function fetchJson(
  url: string,
  maxBytes: number,
  options: HttpOptions,
): Promise<{ value: unknown; bytes: number; headers: Headers }> {
  return withRetries(url, options, async () => {
    using exchange = new Exchange(options);
    const response = await exchange.get(url, { accept: "application/json" });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new DownloadError(url, describe(response), { status: response.status });
    }
    const decoder = new TextDecoder();
    let [text, bytes] = ["", 0];
    for await (const piece of exchange.read(response)) {
      bytes += piece.byteLength;
      if (bytes > maxBytes) {
        throw new DownloadError(url, `expected at most ${maxBytes} bytes of JSON but got more`);
      }
      text += decoder.decode(piece, { stream: true });
    }
    try {
      return { value: parseJson(text + decoder.decode()), bytes, headers: response.headers };
    } catch (cause) {
      throw new DownloadError(url, `expected JSON: ${(cause as Error).message}`);
    }
  });
}
