// English sentences and their French translations: downloaded once, or read from a path.
import { join } from "../src/io/node_builtins.ts";
import { cacheFolder, download, type DownloadOptions } from "../src/hub/download.ts";
import { FileFormatError } from "../src/io/errors.ts";
import { cleanPair, readSentencePairs, type SentencePair } from "../src/data/translation_pairs.ts";

/** Sentences of the Tatoeba project with their translations, more of them every few months. */
export const dataset = {
  /** Name for people. */
  name: "English-French sentence pairs",
  /** Where it comes from: a zip archive with `fra.txt`. */
  source: "http://www.manythings.org/anki/fra-eng.zip",
  /** The archive grows with each edition; anything smaller than this is something else. */
  minBytes: 2_000_000,
  /** Under what terms it may be used. */
  licence: "CC-BY 2.0 FR, Tatoeba project, through manythings.org/anki",
} as const;

/** Options of {@linkcode loadEnglishFrench}. */
export interface EnglishFrenchOptions extends
  Pick<
    DownloadOptions,
    "onProgress" | "signal" | "retries"
  > {
  /** A copy that is already on this machine, `.txt` or `.zip`; nothing is downloaded then. */
  readonly path?: string | URL | undefined;
  /** Where to download from instead of `dataset.source`. */
  readonly url?: string | URL;
  /** Fewest bytes that a download must have; `dataset.minBytes` by default. */
  readonly minBytes?: number;
  /** Folder to keep the download in; `cacheFolder()` by default. */
  readonly cache?: string | undefined;
}

/**
 * The English-French pairs, cleaned, in the order of their file: from a path, from the cache, or downloaded
 * into the cache. Reading a path needs `--allow-read` for it; the download
 * `--allow-net=www.manythings.org`, and `--allow-read`, `--allow-write` and `--allow-env` for the cache.
 * A download that turns out to be no archive of pairs does not stay in the cache.
 *
 * @throws {DownloadError} where it cannot be downloaded
 * @throws {FileFormatError} where the archive is too small or cut short, or a line is malformed
 */
export async function loadEnglishFrench(
  options?: EnglishFrenchOptions,
): Promise<SentencePair[]> {
  const { path, url = dataset.source, minBytes = dataset.minBytes, cache, ...rest } = options ?? {};
  if (path !== undefined) return (await readSentencePairs(path)).map(cleanPair);
  const file = await download(url, join(cache ?? cacheFolder(), "fra-eng.zip"), rest);
  try {
    const { size } = await Deno.stat(file);
    if (size < minBytes) {
      const message = `expected at least ${minBytes} bytes but got ${size} from ${url}`;
      throw new FileFormatError(message, { file });
    }
    return (await readSentencePairs(file)).map(cleanPair);
  } catch (error) {
    if (error instanceof FileFormatError) await Deno.remove(file);
    throw error;
  }
}
