// HellaSwag, stories to be ended in the one sensible way of four: downloaded once, or read from a path.
import { join } from "../src/io/node_builtins.ts";
import { cacheFolder, download, type DownloadOptions } from "../src/hub/download.ts";
import { parseJsonLines, textField } from "../src/data/jsonl.ts";
import { toPath } from "../src/io/byte_source.ts";
import { FileFormatError } from "../src/io/errors.ts";
import { shown } from "../src/io/json_text.ts";

/** The 10,042 items of the validation set (Zellers et al. 2019, "HellaSwag: Can a Machine Really Finish Your Sentence?"). */
export const dataset = {
  /** Name for people. */
  name: "HellaSwag, validation set",
  /** Where it comes from. */
  source: "https://raw.githubusercontent.com/rowanz/hellaswag/master/data/hellaswag_val.jsonl",
  /** SHA-256 of the file, as 64 hexadecimal digits. */
  sha256: "0aa3b88843990f3f10a97b9575c94d7b71fb2205240ba04ae4884d9e9c992588",
  /** Under what terms it may be used. */
  licence: "MIT",
} as const;

/** A story with several ends. */
export interface HellaSwagItem {
  /** The beginning, without a blank after it. */
  readonly context: string;
  /** The ends, without a blank before them; four in HellaSwag itself. */
  readonly endings: readonly string[];
  /** Which of them is the right one, counted from 0. */
  readonly label: number;
}

/** Options of {@linkcode loadHellaSwag}. */
export interface HellaSwagFileOptions extends
  Pick<
    DownloadOptions,
    "onProgress" | "signal" | "retries"
  > {
  /** A file of this format that is already on this machine; nothing is downloaded then. */
  readonly path?: string | URL | undefined;
  /** Where to download from instead of `dataset.source`; the file must be the same. */
  readonly url?: string | URL;
  /** Folder to keep the download in; `cacheFolder()` by default. */
  readonly cache?: string | undefined;
}

/**
 * The items of HellaSwag's validation set, or of a file in its format (a line of JSON with `ctx`, `endings` and `label`
 * for each), in the order of the file: from a path, from the cache, or downloaded into the cache. Reading a path needs
 * `--allow-read` for it; the download `--allow-net=raw.githubusercontent.com`, and `--allow-read`, `--allow-write` and
 * `--allow-env` for the cache.
 *
 * @throws {DownloadError} where it cannot be downloaded
 * @throws {FileFormatError} where a line is no such item; the message names the line
 */
export async function loadHellaSwag(options?: HellaSwagFileOptions): Promise<HellaSwagItem[]> {
  const { path, url = dataset.source, cache, ...rest } = options ?? {};
  const file = toPath(
    path ??
      await download(url, join(cache ?? cacheFolder(), "hellaswag_val.jsonl"), {
        ...rest,
        sha256: dataset.sha256,
      }),
  );
  const text = await Deno.readTextFile(file);
  return Array.from(parseJsonLines(text, file), (line) => {
    const context = textField(line, "ctx", file);
    const { endings, label } = line.value;
    const refuse = (message: string): never => {
      throw new FileFormatError(`line ${line.line}: ${message}`, { file });
    };
    const areTexts = Array.isArray(endings) && endings.length >= 2 &&
      endings.every((ending) => typeof ending === "string" && ending !== "");
    if (!areTexts) {
      return refuse(`expected two texts or more in "endings" but got ${shown(endings)}`);
    }
    if (context === "") return refuse('expected a text in "ctx" but got an empty one');
    const index = typeof label === "string" && /^\d+$/.test(label) ? Number(label) : label;
    if (!(Number.isInteger(index) && index as number >= 0 && index as number < endings.length)) {
      return refuse(
        `expected a number from 0 to ${endings.length - 1} in "label" but got ${
          JSON.stringify(label)
        }`,
      );
    }
    return { context, endings, label: index as number };
  });
}
