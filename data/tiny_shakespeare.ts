// Tiny Shakespeare, the text that char-rnn and nanoGPT train on: downloaded once, or read from a path.
import { join } from "../src/io/node_builtins.ts";
import { checkDataset, type Dataset } from "../src/data/dataset.ts";
import { cacheFolder, download, type DownloadOptions } from "../src/hub/download.ts";

/** 40,000 lines from Shakespeare's plays, put together by Andrej Karpathy. */
export const dataset: Dataset = {
  name: "tiny Shakespeare",
  source:
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
  bytes: 1_115_394,
  sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
  licence: "public domain",
};

/** Options of {@linkcode loadTinyShakespeare}. */
export interface TinyShakespeareOptions extends
  Pick<
    DownloadOptions,
    "onProgress" | "signal" | "retries"
  > {
  /** A copy that is already on this machine; nothing is downloaded then. */
  path?: string | URL | undefined;
  /** Where to download from instead of `dataset.source`. */
  url?: string | URL;
  /** Folder to keep the download in; `cacheFolder()` by default. */
  cache?: string | undefined;
}

/**
 * The text of tiny Shakespeare, from a path, from the cache, or downloaded into the cache. Reading a
 * path needs `--allow-read` for it; the download `--allow-net=raw.githubusercontent.com`, and
 * `--allow-read`, `--allow-write` and `--allow-env` for the cache.
 *
 * @throws {DownloadError} where it cannot be downloaded
 * @throws {Error} where the file at `path` is another text
 */
export async function loadTinyShakespeare(options?: TinyShakespeareOptions): Promise<string> {
  const { path, url = dataset.source, cache, ...rest } = options ?? {};
  const file = path ??
    await download(url, join(cache ?? cacheFolder(), "tiny_shakespeare.txt"), {
      ...rest,
      bytes: dataset.bytes,
      sha256: dataset.sha256,
    });
  const bytes = await checkDataset(await Deno.readFile(file), dataset, String(file));
  return new TextDecoder().decode(bytes);
}
