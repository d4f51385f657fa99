/**
 * Downloads models from the Hugging Face hub into a cache.
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
  /** The file being downloaded. */
  readonly file: string;
  /** The bytes so far. */
  readonly done: number;
  /** The bytes of all files. */
  readonly total: number;
}

/** Options of {@linkcode downloadModel}. */
export interface ModelHubOptions extends HubOptions {
  /** The folder in which downloads are kept. Default: `hub` in the {@linkcode cacheFolder}. */
  readonly cacheFolder?: string | URL;
  /** A branch, tag or commit. Default: `main`. */
  readonly revision?: string;
  /** Called with the progress. */
  readonly onProgress?: ((progress: ModelDownloadProgress) => void) | undefined;
}

/** The files that may hold a chat template. */
export const CHAT_TEMPLATE_FILES = ["chat_template.jinja", "tokenizer_config.json"] as const;
/** The file with the options of `generate` in `transformers`, such as the ids that end a text. */
export const GENERATION_CONFIG = "generation_config.json";

/** A part of a model to download: its configuration and weights, or its tokenizer. */
export type ModelPart = "model" | "tokenizer";

/**
 * Downloads a model from the hub into the cache and returns its folder. Files that exist are not fetched again, an
 * interrupted download resumes where it ended, and lengths and hashes must be those that the hub lists. If the hub
 * cannot be reached, its last listing of the revision is used. Calls for the same model, also in several processes,
 * share one download. Needs `--allow-net` for the hub and the host that it redirects to, `--allow-read` and
 * `--allow-write` for the cache, and `--allow-env` to find it.
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
    const more = [...CHAT_TEMPLATE_FILES, GENERATION_CONFIG];
    wanted.push(...more.filter((file) => files.has(file)));
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

/** Returns the hub's listing of a revision, or the last one if the hub cannot be reached. */
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

/** Fetches the missing files, reporting the progress over all of them, and returns their folder. */
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
    // Folders are named after commits, and their files were checked when they were downloaded.
    if (await fileSize(path) !== file.bytes) {
      await downloadHubFile(file, path, { ...options, onProgress: report });
    }
    report(file.bytes);
    before += file.bytes;
  }
  return folder;
}
