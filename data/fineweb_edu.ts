// FineWeb-Edu, the pages of the web that teach something: downloaded file by file and made into token shards.
import { join } from "../src/io/node_builtins.ts";
import { hubCorpusFile, type HubOptions, listHubFiles } from "../src/hub/hub.ts";
import {
  prepareCorpus,
  type PreparedCorpus,
  preparedOrigin,
  type PrepareOptions,
} from "../src/data/prepare/prepare.ts";
import { shareJson, SingleProcess } from "../src/distributed/communicator.ts";
import { toPath } from "../src/io/byte_source.ts";

/** Ten billion tokens drawn from FineWeb-Edu (Penedo et al. 2024), in 14 parquet files of some 2 GB. */
export const dataset = {
  /** Name for people. */
  name: "FineWeb-Edu, sample 10BT",
  /** The data set on the Hugging Face hub. */
  source: "HuggingFaceFW/fineweb-edu",
  /** Its folder there. */
  folder: "sample/10BT",
  /** Under what terms it may be used. */
  licence: "ODC-By 1.0, and Common Crawl's terms of use",
} as const;

/** Options of {@linkcode prepareFineWebEdu}. */
export interface FineWebEduOptions extends Omit<PrepareOptions, "origin"> {
  /** How the hub is asked. */
  hub?: HubOptions;
  /** Branch, tag or commit; `main` by default. A preparation that was begun goes on with its own. */
  revision?: string;
  /** Keeps the parquet files, 28 GB in all; by default each is removed when it is in the shards. */
  keepDownloads?: boolean | undefined;
  /** Called while a file comes, with its name, the bytes so far and all bytes. */
  onDownload?: (file: string, done: number, total: number) => void;
}

/**
 * Makes the sample of ten billion tokens into shards `edufineweb_val_000000.npy`, `edufineweb_train_000001.npy` and so
 * on in `folder`, those that build-nanogpt's `fineweb.py` makes. Some 20 GB of shards and, while it runs, two of the
 * parquet files have to fit on the disk. Ended by whatever, it goes on when called again; see `prepareCorpus`.
 *
 * Needs `--allow-net` (the hub sends on to hosts of its own choice), `--allow-read` and `--allow-write` for `folder`,
 * what `prepareCorpus` needs for its workers, and `--allow-env=HF_TOKEN` where a token is to be used.
 *
 * @throws {DownloadError} where the files cannot be listed or downloaded
 * @throws {Error} what `prepareCorpus` throws
 */
export async function prepareFineWebEdu(
  folder: string | URL,
  options?: FineWebEduOptions,
): Promise<PreparedCorpus> {
  const { hub = {}, revision = "main", keepDownloads, onDownload, ...rest } = options ?? {};
  const { signal, communicator = new SingleProcess() } = rest;
  const list = async () => {
    const begun = (await preparedOrigin(folder))?.split("@").at(-1);
    const options = { ...hub, revision: begun ?? revision, folder: dataset.folder, signal };
    return await listHubFiles(dataset.source, options);
  };
  const listed = await shareJson(communicator, communicator.rank === 0 ? await list() : []);
  const downloads = join(toPath(folder), "downloads");
  const files = listed.filter(({ path }) => path.endsWith(".parquet")).map((file) =>
    hubCorpusFile(file, downloads, {
      ...hub,
      keep: keepDownloads,
      onProgress: (done, total) => onDownload?.(file.path, done, total),
    })
  );
  const origin = `${dataset.source}@${listed[0]?.revision}`;
  return await prepareCorpus(files, folder, { prefix: "edufineweb", ...rest, origin });
}
