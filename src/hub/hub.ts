/**
 * Lists and downloads files of models and data sets on the Hugging Face hub; interrupted downloads are resumed.
 *
 * @module
 */
import { basename, createHash, join } from "../io/node_builtins.ts";
import type { CorpusFile } from "../data/prepare/prepare.ts";
import { shown } from "../io/json_text.ts";
import { download } from "./download.ts";
import { DownloadError, fetchJson, type HttpOptions } from "./http.ts";

/** Options of requests to the hub. */
export interface HubOptions extends HttpOptions {
  /** The address of the hub. Default: `https://huggingface.co`. */
  endpoint?: string;
  /**
   * The access token, for models and data sets that need one. It is sent to no other server than the hub. Default:
   * `HF_TOKEN` or `HUGGING_FACE_HUB_TOKEN` from the environment, if reading it is allowed.
   */
  token?: string | undefined;
}

/** A file of a model or a data set on the hub. */
export interface HubFile {
  /**
   * The repository: the name of a model (`openai-community/gpt2`) or of a data set
   * (`datasets/HuggingFaceFW/fineweb-edu`).
   */
  repository: string;
  /** The revision of the repository: a commit. */
  revision: string;
  /** The path in the repository. */
  path: string;
  /** The length in bytes. */
  bytes: number;
  /** The SHA-256 of the content, as 64 hexadecimal digits; absent for small files, which git stores itself. */
  sha256?: string | undefined;
  /** For those small files: the SHA-1 of the content in git, as 40 hexadecimal digits. */
  gitHash?: string | undefined;
}

/** Options of {@linkcode listHubFiles}. */
export interface ListHubOptions extends HubOptions {
  /** A branch, tag or commit. Default: `main`. */
  revision?: string;
  /** A folder in the data set. Default: the top. */
  folder?: string;
}

/** Options of {@linkcode downloadHubFile}. */
export interface DownloadHubOptions extends HubOptions {
  /** Called with the bytes so far and the total. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** The maximum bytes of JSON in a listing, over all of its pages; the hub itself uses 300 bytes a file. */
const MAX_LISTING_BYTES = 2 ** 25;
/** The maximum number of pages in a listing; the hub itself lists 1,000 files a page. */
const MAX_LISTING_PAGES = 1000;

/** Creates the error for an invalid listing. */
type Refuse = (message: string) => Error;

/** The retries for downloads that take hours unattended. */
const PATIENCE = { retries: 8, retryDelay: 1000 };

/**
 * Returns the files in a folder of a data set, in the order of their paths, all of one commit. Needs `--allow-net` for
 * the hub.
 *
 * @throws {DownloadError} where the hub refuses, the retries are used up, or the answer is not a list of files, names a
 * path outside the data set, or has more than 32 MiB or 1,000 pages
 */
export async function listHubFiles(
  dataset: string,
  options?: ListHubOptions,
): Promise<HubFile[]> {
  const { folder = "" } = options ?? {};
  const repository = `datasets/${dataset}`;
  const about = await askHub(revisionUrl(repository, options ?? {}), { ...PATIENCE, ...options });
  const refuse = (message: string) => new DownloadError(about.url, message);
  const commit = commitOf(about.value, refuse);
  const files: HubFile[] = [];
  const asked = new Set<string>();
  let left = MAX_LISTING_BYTES;
  const root = `api/${repository}/tree/${commit}`;
  let next: string | undefined = hubUrl(folder ? `${root}/${folder}` : root, options);
  while (next !== undefined) {
    if (asked.has(next) || asked.size >= MAX_LISTING_PAGES) {
      throw refuse(
        `expected at most ${MAX_LISTING_PAGES} pages, each of them once, but got ${next}`,
      );
    }
    asked.add(next);
    const page = await askHub(next, { ...PATIENCE, ...options }, left);
    left -= page.bytes;
    if (!Array.isArray(page.value)) throw refuse(`expected a list of files at ${next}`);
    for (const entry of page.value) {
      if (entry?.type !== "file") continue;
      const { path, size, oid, lfs } = entry;
      files.push(
        hubFile(repository, commit, { path, size, gitHash: oid, sha256: lfs?.oid }, refuse),
      );
    }
    next = nextPage(page.headers, next);
  }
  return files.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Returns the hub's description of a revision: `sha` is the commit, `siblings` with `blobs` are the files. */
export async function askRevision(
  repository: string,
  options: HubOptions & { revision?: string },
): Promise<{ value: unknown; url: string }> {
  return await askHub(`${revisionUrl(repository, options)}?blobs=true`, options);
}

/**
 * Returns the files of the description that {@linkcode askRevision} returned.
 *
 * @throws what `refuse` makes of a message, where it is not a list of files
 */
export function filesOfRevision(repository: string, about: unknown, refuse: Refuse): HubFile[] {
  const commit = commitOf(about, refuse);
  const { siblings } = about as { siblings?: unknown };
  if (!Array.isArray(siblings)) throw refuse("expected a list of files");
  return siblings.map((sibling) => {
    const { rfilename, size, blobId, lfs } = sibling ?? {};
    const entry = { path: rfilename, size, gitHash: blobId, sha256: lfs?.sha256 };
    return hubFile(repository, commit, entry, refuse);
  });
}

/**
 * Downloads a file of the hub to a path and returns the path. It resumes where an earlier call ended. Length and hash
 * are checked and, before anything is downloaded, that the hub still has that file (its ETag). Needs `--allow-net` for
 * the hub and for the host that it redirects to, and `--allow-read` and `--allow-write` for the path.
 *
 * @throws {DownloadError} where the hub refuses or has another file, the retries are used up, or length or hash are
 * wrong a second time
 */
export async function downloadHubFile(
  file: HubFile,
  path: string,
  options?: DownloadHubOptions,
): Promise<string> {
  const { repository, revision, bytes, sha256, gitHash } = file;
  const url = hubUrl(`${repository}/resolve/${revision}/${file.path}`, options);
  const token = hubToken(options?.token);
  const { onProgress } = options ?? {};
  return await withAdvice(url, token, () =>
    download(url, path, {
      ...{ ...PATIENCE, ...options, token, bytes, sha256, gitHash },
      onProgress: (done) => onProgress?.(done, bytes),
      onResponse({ headers }) {
        const size = headers.get("x-linked-size");
        if (size !== null && Number(size) !== bytes) {
          throw new DownloadError(
            url,
            `expected ${bytes} bytes but got ${size}; the hub has another version now`,
          );
        }
        const etag = (headers.get("x-linked-etag") ?? "").replace(/^(?:W\/)?"|"$/g, "");
        if (sha256 !== undefined && etag !== "" && etag !== sha256) {
          throw new DownloadError(
            url,
            `expected the ETag ${sha256} but got ${etag}; the hub has another version now`,
          );
        }
      },
    }));
}

/** Returns a file of a data set, to be kept in `folder` while {@linkcode prepareCorpus} reads it. */
export function hubCorpusFile(
  file: HubFile,
  folder: string,
  options?: DownloadHubOptions & { keep?: boolean | undefined },
): CorpusFile {
  const { repository, revision, path: name, bytes, sha256 } = file;
  // Two folders may have files of one name, and two revisions files of one path.
  const identity = createHash("sha256").update(`${repository}@${revision}/${name}`).digest("hex");
  const path = join(folder, `${identity.slice(0, 16)}-${basename(name)}`);
  return {
    name,
    bytes,
    sha256,
    open: (signal) => downloadHubFile(file, path, { ...options, signal }),
    release: async () => {
      if (options?.keep) return;
      await Deno.remove(path).catch((error) => { // another rank may have the same disk
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    },
  };
}

/** The variables that hold an access token, in order of precedence, as in Hugging Face's own library. */
const TOKEN_VARIABLES = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/**
 * Returns the access token for the hub: the one given, else that of the environment if reading it is already allowed
 * (no permission is asked for). An empty one counts as none.
 */
export function hubToken(given: string | undefined): string | undefined {
  if (given !== undefined) return given || undefined;
  for (const variable of TOKEN_VARIABLES) {
    const { state } = Deno.permissions.querySync({ name: "env", variable });
    const token = state === "granted" ? Deno.env.get(variable)?.trim() : undefined;
    if (token) return token;
  }
  return undefined;
}

/** Returns the address of a path on the hub, by default Hugging Face's own. */
export function hubUrl(
  path: string,
  { endpoint = "https://huggingface.co" }: Pick<HubOptions, "endpoint"> = {},
): string {
  return `${endpoint.replace(/\/+$/, "")}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

function revisionUrl(
  repository: string,
  { revision = "main", ...options }: HubOptions & { revision?: string },
): string {
  const path = repository.startsWith("datasets/") ? repository : `models/${repository}`;
  return `${hubUrl(`api/${path}/revision`, options)}/${encodeURIComponent(revision)}`;
}

async function askHub(
  url: string,
  options: HubOptions,
  maxBytes: number = MAX_LISTING_BYTES,
): Promise<{ value: unknown; bytes: number; headers: Headers; url: string }> {
  const token = hubToken(options.token);
  const answer = await withAdvice(
    url,
    token,
    () => fetchJson(url, maxBytes, { ...options, token }),
  );
  return { ...answer, url };
}

/** Adds advice to the error of a refusal. */
async function withAdvice<T>(
  url: string,
  token: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DownloadError)) throw error;
    const { cause, status } = error;
    const advice = adviceOn(status, token);
    if (advice === "") throw error;
    const message = error.message.slice(`${url}: `.length);
    throw new DownloadError(url, `${message}: ${advice}`, { cause, status });
  }
}

/** Returns advice on a status of the hub; empty if only the hub can do something about it. */
function adviceOn(status: number | undefined, token: string | undefined): string {
  switch (status) {
    case 401:
    case 403:
      return token
        ? "the access token (HF_TOKEN) gives no access to it; for some the terms have to be accepted on the hub's page"
        : "check the name, or set HF_TOKEN to an access token (with --allow-env=HF_TOKEN)";
    case 404:
      return "check the name and the revision";
    case 429:
      return token
        ? "too much was asked for in a short time; go on later"
        : "too much was asked for in a short time; go on later, or set HF_TOKEN to an access token, " +
          "with which more is allowed";
    default:
      return "";
  }
}

/** Parses `link: <https://...>; rel="next"`; it must be on the same host, as the token is sent there. */
function nextPage(headers: Headers, url: string): string | undefined {
  const match = /<([^>]+)>\s*;\s*rel="?next"?/.exec(headers.get("link") ?? "");
  if (!match) return undefined;
  const next = URL.parse(match[1]!, url);
  if (next?.origin !== new URL(url).origin) {
    throw new DownloadError(url, `expected the next page on the same host but got ${next?.origin}`);
  }
  return next.href;
}

function commitOf(about: unknown, refuse: Refuse): string {
  const { sha } = (about ?? {}) as { sha?: unknown };
  if (typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha)) return sha;
  throw refuse(`expected a commit as "sha" but got ${shown(sha)}`);
}

/** Checks a file of a listing, whose path becomes a path on this machine. */
function hubFile(
  repository: string,
  revision: string,
  { path, size, gitHash, sha256 }: Record<"path" | "size" | "gitHash" | "sha256", unknown>,
  refuse: Refuse,
): HubFile {
  if (typeof path !== "string" || !isInnerPath(path)) {
    throw refuse(`expected a path in the repository but got ${shown(path)}`);
  }
  if (!(Number.isSafeInteger(size) && size as number >= 0)) {
    throw refuse(`${path}: expected a size but got ${shown(size)}`);
  }
  if (sha256 !== undefined && !(typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256))) {
    throw refuse(`${path}: expected a SHA-256 but got ${shown(sha256)}`);
  }
  const file = { repository, revision, path, bytes: size as number };
  if (sha256 !== undefined) return { ...file, sha256: sha256 as string };
  const isGitHash = typeof gitHash === "string" && /^[0-9a-f]{40}$/.test(gitHash);
  return isGitHash ? { ...file, gitHash } : file;
}

/** Whether a path of the hub stays inside its folder, on every system. */
function isInnerPath(path: string): boolean {
  // deno-lint-ignore no-control-regex
  return !/[\\\x00-\x1f]|^[a-zA-Z]:/.test(path) && path.length <= 1000 &&
    path.split("/").every((part) => !["", ".", ".."].includes(part) && part.length <= 200);
}
