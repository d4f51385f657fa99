/**
 * Models of the Hugging Face hub, kept in a cache.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { cacheFolder as defaultCache, download, DownloadError } from "../data/download.ts";
import type { DownloadOptions } from "../data/download.ts";
import { escapedPath, hubAdvice, hubEndpoint, hubToken } from "../data/hub_access.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { fileSize } from "../io/file_size.ts";
import { shown } from "../io/json_text.ts";
import { isJsonObject, readJsonObject } from "./json_file.ts";
import { MERGES, VOCABULARY } from "./vocabulary_files.ts";
import { readWeightMap, WEIGHTS, WEIGHTS_INDEX } from "./weight_files.ts";

/** How far a download has come, all of its files together. */
export interface ModelDownloadProgress {
  /** The file that is under way. */
  readonly file: string;
  /** Bytes so far. */
  readonly done: number;
  /** Bytes of all files. */
  readonly total: number;
}

/** Options of {@linkcode downloadModel}. */
export interface ModelHubOptions
  extends Pick<DownloadOptions, "retries" | "retryDelay" | "stallTimeout" | "signal"> {
  /** Where downloads are kept. Default: `hub` in the {@linkcode cacheFolder}. */
  readonly cacheFolder?: string | URL;
  /**
   * Access token, for models that want one. By default `HF_TOKEN` or `HUGGING_FACE_HUB_TOKEN` from the environment, where
   * reading it is allowed. No other server than the hub is shown it.
   */
  readonly token?: string;
  /** Branch, tag or commit. Default: `main`. */
  readonly revision?: string;
  /** The hub. Default: `https://huggingface.co`. */
  readonly endpoint?: string;
  /** Is told how far it has come. */
  readonly onProgress?: (progress: ModelDownloadProgress) => void;
}

/** What of a model is wanted: its configuration and weights, its tokenizer. */
export type ModelPart = "model" | "tokenizer";

/** A file as the hub lists it. */
interface HubFile {
  readonly name: string;
  readonly size: number;
  /** Of large files. */
  readonly sha256: string | undefined;
  /** Of the others: the hash by which git knows them, a SHA-1 over "blob", the length and the bytes. */
  readonly blob: string | undefined;
}

/** What the hub says of a revision. */
interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/**
 * Downloads a model from the hub into the cache and returns its folder. What is there already is not fetched again, a
 * download that was broken off goes on where it ended, lengths and hashes have to be those that the hub lists. Where the hub
 * cannot be reached, what it last said of the revision holds. Needs `--allow-net` for the hub and where it sends
 * us on to, `--allow-read` and `--allow-write` for the cache, and `--allow-env` to find it.
 *
 * @throws {DownloadError} where the hub refuses, does not know the model, or what came is not what it promised
 * @throws {FileFormatError} where what the hub says makes no sense
 */
export async function downloadModel(
  name: string,
  options: ModelHubOptions & { readonly parts?: readonly ModelPart[] } = {},
): Promise<string> {
  const { parts = ["model", "tokenizer"] } = options;
  const endpoint = hubEndpoint(options.endpoint);
  const { revision = "main" } = options;
  if (!/^\w[\w.-]*(\/\w[\w.-]*)?$/.test(name) || !/^\w[\w./-]*$/.test(revision)) {
    throw new TypeError(`downloadModel: ${name} at ${revision} is not the name of a model`);
  }
  const cache = toPath(options.cacheFolder ?? join(defaultCache(), "hub"));
  const home = join(cache, name.replace("/", "--"));
  const listing = await readListing(
    `${endpoint}/api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`,
    join(home, `${encodeURIComponent(revision)}.json`),
    options,
  );
  const folder = join(home, listing.commit);
  const fetchFiles = (files: readonly HubFile[]) =>
    fetchAll(`${endpoint}/${name}/resolve/${listing.commit}`, folder, files, options);
  const file = (wanted: string): HubFile => {
    const found = listing.files.get(wanted);
    if (found) return found;
    throw new DownloadError(`${endpoint}/${name}`, `the model has no file ${wanted}`);
  };

  const wanted: HubFile[] = [];
  if (parts.includes("tokenizer")) {
    const old = !listing.files.has("tokenizer.json") && listing.files.has(VOCABULARY);
    wanted.push(...(old ? [VOCABULARY, MERGES] : ["tokenizer.json"]).map(file));
  }
  if (parts.includes("model")) {
    wanted.push(file("config.json"));
    if (!listing.files.has(WEIGHTS) && listing.files.has(WEIGHTS_INDEX)) {
      const index = join(folder, WEIGHTS_INDEX);
      await fetchFiles([file(WEIGHTS_INDEX)]);
      const shards = readWeightMap(await readJsonObject(index) ?? {}, index).values();
      wanted.push(...[...new Set(shards)].map(file));
    } else {
      wanted.push(file(WEIGHTS));
    }
  }
  await fetchFiles(wanted);
  return folder;
}

/** What the hub says of a revision; what it last said where it does not answer. */
async function readListing(url: string, kept: string, options: ModelHubOptions): Promise<Listing> {
  const fresh = `${kept}.new`;
  for (const path of [fresh, `${fresh}.part`]) await removeIfThere(path); // it may have changed
  try {
    await fetchFile(url, fresh, options, {});
    await Deno.rename(fresh, kept);
  } catch (error) {
    const unreachable = error instanceof DownloadError && error.cause !== undefined;
    if (!unreachable || await fileSize(kept) === undefined) throw error;
  }
  return parseListing(await readJsonObject(kept), kept);
}

function parseListing(json: Record<string, unknown> | undefined, file: string): Listing {
  const refuse = (what: string): never => {
    throw new FileFormatError(`is not what the hub says of a model: ${what}`, { file });
  };
  const { sha, siblings } = json ?? {};
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) return refuse("it names no commit");
  if (!Array.isArray(siblings)) return refuse("it lists no files");
  const files = new Map<string, HubFile>();
  for (const sibling of siblings as unknown[]) {
    if (!isJsonObject(sibling)) return refuse("a file is not described by an object");
    const { rfilename: name, size, blobId, lfs } = sibling;
    if (typeof name !== "string") return refuse("a file has no name");
    if (!(Number.isSafeInteger(size) && size as number >= 0)) {
      return refuse(`${shown(name)} has no size`);
    }
    const sha256 = isJsonObject(lfs) ? lfs.sha256 : undefined;
    files.set(name, {
      name,
      size: size as number,
      sha256: typeof sha256 === "string" ? sha256 : undefined,
      blob: sha256 === undefined && typeof blobId === "string" ? blobId : undefined,
    });
  }
  return { commit: sha, files };
}

/** Fetches the files that are not there yet, and tells how far all of them are. */
async function fetchAll(
  from: string,
  folder: string,
  files: readonly HubFile[],
  options: ModelHubOptions,
): Promise<void> {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const { name, size, sha256, blob } of files) {
    const path = join(folder, name);
    const report = (bytes: number) =>
      options.onProgress?.({ file: name, done: before + bytes, total });
    // Folders are named after commits, and what stands in one was checked when it came.
    if (await fileSize(path) !== size) {
      const expected = { bytes: size, sha256, onProgress: report };
      await fetchFile(`${from}/${escapedPath(name)}`, path, options, expected);
      if (blob !== undefined && await gitHash(path, size) !== blob) {
        await Deno.remove(path);
        throw new DownloadError(`${from}/${name}`, `is not the file with the git hash ${blob}`);
      }
    }
    report(size);
    before += size;
  }
}

/** Fetches one file, with the token where there is one; says what to do where the hub refuses. */
async function fetchFile(
  url: string,
  path: string,
  { token: given, retries, retryDelay, stallTimeout, signal }: ModelHubOptions,
  expected: Pick<DownloadOptions, "bytes" | "sha256" | "onProgress">,
): Promise<void> {
  const token = hubToken(given);
  try {
    await download(url, path, { ...expected, token, retries, retryDelay, stallTimeout, signal });
  } catch (error) {
    if (!(error instanceof DownloadError)) throw error;
    const { cause, status } = error;
    const advice = hubAdvice(status, token);
    if (advice === "") throw error;
    const message = error.message.slice(`${url}: `.length);
    throw new DownloadError(url, `${message}: ${advice}`, { cause, status });
  }
}

async function gitHash(path: string, size: number): Promise<string> {
  const hash = createHash("sha1").update(`blob ${size}\0`);
  using file = await Deno.open(path, { read: true });
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex");
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
