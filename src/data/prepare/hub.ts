/**
 * Files of data sets on the Hugging Face hub: listed, and downloaded so that an interruption costs nothing.
 *
 * @module
 */
import { basename, join } from "node:path";
import { fileSize } from "../../io/file_size.ts";
import { download, DownloadError } from "../download.ts";
import { escapedPath, hubAdvice, hubEndpoint, hubToken } from "../hub_access.ts";
import { pause } from "../retry.ts";
import type { CorpusFile } from "./prepare.ts";

/** How the hub is asked. */
export interface HubOptions {
  /** Address of the hub; `https://huggingface.co` by default. */
  endpoint?: string;
  /**
   * Access token, for data sets that need one. By default `HF_TOKEN` or `HUGGING_FACE_HUB_TOKEN` from the environment,
   * where reading it is allowed.
   */
  token?: string;
  /** How often in a row to try again after a failure that may pass, without anything having come; 8 by default. */
  retries?: number;
  /**
   * Wait before the first retry in milliseconds, doubled for each further one up to a minute; 1,000 by default. Where
   * the hub says how long to wait (`Retry-After`), that is kept to, up to an hour.
   */
  retryDelay?: number;
  /** Breaks it off. */
  signal?: AbortSignal;
}

/** A file of a data set on the hub. */
export interface HubFile {
  /** Name of the data set, `HuggingFaceFW/fineweb-edu` for one. */
  dataset: string;
  /** Revision of the data set: a commit. */
  revision: string;
  /** Path in the data set. */
  path: string;
  /** Length in bytes. */
  bytes: number;
  /** SHA-256 of the content, as 64 hexadecimal digits; not there for small files, which git keeps itself. */
  sha256?: string;
}

/** Options of {@linkcode listHubFiles}. */
export interface ListHubOptions extends HubOptions {
  /** Branch, tag or commit; `main` by default. */
  revision?: string;
  /** Folder in the data set; the top by default. */
  folder?: string;
}

/** Options of {@linkcode downloadHubFile}. */
export interface DownloadHubOptions extends HubOptions {
  /** Called with the bytes so far and all bytes. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * The files in a folder of a data set, in the order of their paths, all of one commit. Needs `--allow-net` for the hub.
 *
 * @throws {DownloadError} where the hub refuses, the retries are used up, or the answer is no list of files
 */
export async function listHubFiles(
  dataset: string,
  options: ListHubOptions = {},
): Promise<HubFile[]> {
  const { revision = "main", folder = "" } = options;
  const api = `${hubEndpoint(options.endpoint)}/api/datasets/${escapedPath(dataset)}`;
  const about = await json(`${api}/revision/${encodeURIComponent(revision)}`, options);
  const { sha } = about.body as { sha?: unknown };
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) {
    throw new DownloadError(about.url, "the hub named no commit");
  }
  const files: HubFile[] = [];
  let next: string | undefined = `${api}/tree/${sha}/${escapedPath(folder)}`.replace(/\/$/, "");
  while (next !== undefined) {
    const { body, response, url } = await json(next, options);
    if (!Array.isArray(body)) throw new DownloadError(url, "the hub sent no list of files");
    for (const entry of body) {
      if (entry?.type === "file") files.push(asHubFile(entry, dataset, sha, url));
    }
    next = nextPage(response, url);
  }
  return files.sort((a, b) => a.path < b.path ? -1 : 1);
}

/**
 * Downloads a file of a data set to a path and returns the path. It goes on where an earlier call ended. Length and
 * SHA-256 are checked, and before anything is downloaded, that the hub still has that file (its ETag). Needs
 * `--allow-net`, for the hub and for the host that it sends to, and `--allow-read` and `--allow-write` for the path.
 *
 * @throws {DownloadError} where the hub refuses or has another file, the retries are used up, or length or hash are
 * wrong a second time
 */
export async function downloadHubFile(
  file: HubFile,
  path: string,
  options: DownloadHubOptions = {},
): Promise<string> {
  const { retries = 8, signal, onProgress } = options;
  const { bytes, sha256 } = file;
  if (sha256 === undefined && await fileSize(path) === bytes) return path;
  let have = await fileSize(`${path}.part`) ?? 0;
  let refused = 0; // how often all of it came and was another file
  for (let attempt = 0;; attempt++) {
    // Its address holds for an hour or so, and is asked for again after each failure.
    const url = await resolve(file, options);
    let done = 0;
    try {
      return await download(url, path, {
        ...{ bytes, sha256, signal, retries: 0 },
        onProgress: (count) => {
          done = count;
          onProgress?.(done, bytes);
        },
      });
    } catch (error) {
      if (signal?.aborted || !(error instanceof DownloadError)) throw error;
      const now = await fileSize(`${path}.part`) ?? 0;
      if (now > have) attempt = 0; // it is slow, but it comes
      have = now;
      if (done === bytes) refused++;
      if (attempt >= retries || refused > 1) throw error;
      await pause(attempt, { delay: options.retryDelay ?? 1000, signal });
    }
  }
}

/** A file of a data set, to be kept in `folder` while {@linkcode prepareCorpus} reads it. */
export function hubCorpusFile(
  file: HubFile,
  folder: string,
  options: DownloadHubOptions & { keep?: boolean } = {},
): CorpusFile {
  const { bytes, sha256 } = file;
  // Another revision of it must not go on with what came of this one.
  const name = basename(file.path);
  const path = join(folder, `${(sha256 ?? file.revision).slice(0, 12)}-${name}`);
  return {
    name,
    bytes,
    sha256,
    open: (signal) => downloadHubFile(file, path, { ...options, signal }),
    release: async () => {
      if (!options.keep) await Deno.remove(path);
    },
  };
}

/** Where the bytes of a file are, once it is sure that they are the file's. */
async function resolve(file: HubFile, options: HubOptions): Promise<string> {
  const { dataset, revision, path, bytes, sha256 } = file;
  const url = `${hubEndpoint(options.endpoint)}/datasets/${
    escapedPath(dataset)
  }/resolve/${revision}/${escapedPath(path)}`;
  const response = await request(url, options, { method: "HEAD", redirect: "manual" });
  const size = response.headers.get("x-linked-size");
  if (size !== null && Number(size) !== bytes) {
    throw new DownloadError(url, `expected ${bytes} bytes but the hub now has ${size}`);
  }
  const etag = (response.headers.get("x-linked-etag") ?? "").replace(/^(?:W\/)?"|"$/g, "");
  if (sha256 !== undefined && etag !== "" && etag !== sha256) {
    throw new DownloadError(url, `expected the ETag ${sha256} but the hub now has ${etag}`);
  }
  const location = response.headers.get("location");
  return location === null ? url : new URL(location, url).href;
}

async function json(
  url: string,
  options: HubOptions,
): Promise<{ body: unknown; response: Response; url: string }> {
  const response = await request(url, options);
  try {
    return { body: await response.json(), response, url };
  } catch (cause) {
    throw new DownloadError(url, `the hub sent no JSON: ${(cause as Error).message}`, { cause });
  }
}

/** An answer below 400, after as many retries as that takes. */
async function request(
  url: string,
  options: HubOptions,
  init: RequestInit = {},
): Promise<Response> {
  const { retries = 8, retryDelay = 1000, signal } = options;
  const token = hubToken(options.token);
  const headers = new Headers(token ? { authorization: `Bearer ${token}` } : {});
  for (let attempt = 0;; attempt++) {
    let problem: string;
    let retryAfter: string | null = null;
    let status: number | undefined;
    let cause: unknown;
    try {
      const patience = AbortSignal.timeout(60_000);
      const both = AbortSignal.any([patience, ...(signal ? [signal] : [])]);
      const response = await fetch(url, { ...init, headers, signal: both });
      status = response.status;
      if (status < 400) return response;
      await response.body?.cancel();
      problem = `the hub answered ${status} ${response.statusText}`.trim();
      retryAfter = response.headers.get("retry-after");
    } catch (error) {
      if (signal?.aborted || error instanceof Deno.errors.NotCapable) throw error;
      problem = (error as Error).message;
      cause = error;
    }
    const mayPass = status === undefined || status >= 500 || status === 429 || status === 408;
    if (!mayPass || attempt >= retries) {
      const times = mayPass ? ` (tried ${attempt + 1} times)` : "";
      const advice = hubAdvice(status, token);
      const message = `${problem}${times}${advice && `: ${advice}`}`;
      throw new DownloadError(url, message, { cause, status });
    }
    await pause(attempt, { delay: retryDelay, retryAfter, signal });
  }
}

/** `link: <https://...>; rel="next"`, on the same host: the token goes there. */
function nextPage(response: Response, url: string): string | undefined {
  const match = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get("link") ?? "");
  if (!match) return undefined;
  const next = new URL(match[1], url);
  if (next.origin !== new URL(url).origin) {
    throw new DownloadError(url, `the hub sent the list on to another host, ${next.origin}`);
  }
  return next.href;
}

function asHubFile(
  entry: { path?: unknown; size?: unknown; lfs?: { oid?: unknown } },
  dataset: string,
  revision: string,
  url: string,
): HubFile {
  const { path, size, lfs } = entry;
  const sha256 = lfs?.oid;
  const isHash = sha256 === undefined ||
    (typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256));
  if (typeof path !== "string" || !Number.isSafeInteger(size) || !isHash) {
    throw new DownloadError(url, "the hub sent a file without path, size or a whole SHA-256");
  }
  return { dataset, revision, path, bytes: size as number, sha256: sha256 as string | undefined };
}
