/**
 * Models of the Hugging Face hub, kept in a cache.
 *
 * @module
 */
import { dirname, join } from "../io/node_builtins.ts";
import { cacheFolder as defaultCache } from "../hub/download.ts";
import { DownloadError } from "../hub/http.ts";
import { askRevision, downloadHubFile, filesOfRevision, hubUrl } from "../hub/hub.ts";
import type { HubFile, HubOptions } from "../hub/hub.ts";
import { writeFileAtomically } from "../io/atomic_file.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { fileSize } from "../io/file_size.ts";
import { readJsonObject } from "./json_file.ts";
import { MERGES, VOCABULARY } from "./vocabulary_files.ts";
import { readWeightMap, WEIGHTS, WEIGHTS_INDEX } from "./weight_files.ts";

/** The progress of a download, over all its files. */
export interface ModelDownloadProgress {
  /** The file that is under way. */
  readonly file: string;
  /** Bytes so far. */
  readonly done: number;
  /** Bytes of all files. */
  readonly total: number;
}

/** Options of {@linkcode downloadModel}. */
export interface ModelHubOptions extends HubOptions {
  /** Where downloads are kept. Default: `hub` in the {@linkcode cacheFolder}. */
  readonly cacheFolder?: string | URL;
  /** Branch, tag or commit. Default: `main`. */
  readonly revision?: string;
  /** Receives the progress. */
  readonly onProgress?: ((progress: ModelDownloadProgress) => void) | undefined;
}

/** The files that may hold a chat template. */
export const CHAT_TEMPLATE_FILES = ["chat_template.jinja", "tokenizer_config.json"] as const;

/** What of a model is wanted: its configuration and weights, its tokenizer. */
export type ModelPart = "model" | "tokenizer";

/**
 * Downloads a model from the hub into the cache and returns its folder. What is there already is not fetched again, a
 * download that was broken off goes on where it ended, lengths and hashes have to be those that the hub lists. Where the hub
 * cannot be reached, what it last said of the revision holds. Calls for the same model, also in several processes, share
 * one download. Needs `--allow-net` for the hub and where it sends us on to, `--allow-read` and `--allow-write` for the
 * cache, and `--allow-env` to find it.
 *
 * @throws {DownloadError} where the hub refuses, does not know the model, lists what makes no sense, or sends what it
 * did not promise
 */
export async function downloadModel(
  name: string,
  options?: ModelHubOptions & { readonly parts?: readonly ModelPart[] },
): Promise<string> {
  const { parts = ["model", "tokenizer"], revision = "main" } = options ?? {};
  if (!/^\w[\w.-]*(\/\w[\w.-]*)?$/.test(name) || !/^\w[\w./-]*$/.test(revision)) {
    throw new TypeError(
      `downloadModel: expected a model's name such as "openai-community/gpt2" but got ${name} at ${revision}`,
    );
  }
  const cache = toPath(options?.cacheFolder ?? join(defaultCache(), "hub"));
  const folder = join(cache, name.replace("/", "--"));
  const kept = join(folder, `${encodeURIComponent(revision)}.json`);
  const files = new Map(
    (await listModel(name, kept, options ?? {})).map((file) => [file.path, file]),
  );
  const fetchFiles = (wanted: Iterable<string>) =>
    fetchAll(
      folder,
      Array.from(wanted, (path) => {
        const file = files.get(path);
        if (file) return file;
        throw new DownloadError(hubUrl(name, options), `expected a file ${path} but got none`);
      }),
      options ?? {},
    );

  const wanted: string[] = [];
  if (parts.includes("tokenizer")) {
    const old = !files.has("tokenizer.json") && files.has(VOCABULARY);
    wanted.push(...(old ? [VOCABULARY, MERGES] : ["tokenizer.json"]));
    wanted.push(...CHAT_TEMPLATE_FILES.filter((file) => files.has(file)));
  }
  if (parts.includes("model")) {
    wanted.push("config.json");
    if (!files.has(WEIGHTS) && files.has(WEIGHTS_INDEX)) {
      const index = join(await fetchFiles([WEIGHTS_INDEX]), WEIGHTS_INDEX);
      wanted.push(...new Set(readWeightMap(await readJsonObject(index) ?? {}, index).values()));
    } else {
      wanted.push(WEIGHTS);
    }
  }
  return await fetchFiles(wanted);
}

/** What the hub lists of a revision; what it last listed where it cannot be reached. */
async function listModel(
  name: string,
  kept: string,
  options: ModelHubOptions,
): Promise<HubFile[]> {
  try {
    const { value, url } = await askRevision(name, options);
    const files = filesOfRevision(name, value, (message) => new DownloadError(url, message));
    await Deno.mkdir(dirname(kept), { recursive: true });
    const { sha, siblings } = value as Record<string, unknown>;
    const bytes = new TextEncoder().encode(JSON.stringify({ sha, siblings }));
    await writeFileAtomically(kept, (file) => file.write(bytes));
    return files;
  } catch (error) {
    const unreachable = error instanceof DownloadError && error.cause !== undefined;
    if (!unreachable || await fileSize(kept) === undefined) throw error;
    const refuse = (message: string) => new FileFormatError(message, { file: kept });
    return filesOfRevision(name, await readJsonObject(kept), refuse);
  }
}

/** Fetches the files that are not there yet, and tells how far all of them are; their folder. */
async function fetchAll(
  home: string,
  files: readonly HubFile[],
  { onProgress, ...options }: ModelHubOptions,
): Promise<string> {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const folder = join(home, files[0]!.revision);
  let before = 0;
  for (const file of files) {
    const path = join(folder, file.path);
    const report = (done: number) => onProgress?.({ file: file.path, done: before + done, total });
    // Folders are named after commits, and what stands in one was checked when it came.
    if (await fileSize(path) !== file.bytes) {
      await downloadHubFile(file, path, { ...options, onProgress: report });
    }
    report(file.bytes);
    before += file.bytes;
  }
  return folder;
}
