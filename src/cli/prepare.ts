/** `dinograd prepare`: turns texts into token shards. */
import {
  formatBytes,
  formatCount,
  Interrupt,
  openProgress,
  prepareCorpus,
  prepareFineWebEdu,
  type PrepareOptions,
  type PrepareProgress,
  type Progress,
  RunFolder,
} from "../../mod.ts";
import { FAILED, messageOf } from "./failures.ts";
import { print } from "./output.ts";

/** Options of `prepare`. */
export interface PrepareCommandOptions {
  readonly out: string;
  readonly prefix?: string;
  readonly field?: string;
  readonly shardTokens?: number;
  readonly shards?: number;
  readonly workers?: number;
  readonly keepDownloads?: boolean | undefined;
}

/** Prepares files, or FineWeb-Edu's sample of ten billion tokens if none are named. Returns the exit code. */
export async function prepare(
  files: readonly string[],
  options: PrepareCommandOptions,
): Promise<number> {
  const { out, shardTokens: tokensPerShard, keepDownloads, ...rest } = options;
  for (const file of files) await Deno.stat(file); // fails before a folder is created
  using _folder = await RunFolder.open(out);
  using interrupt = new Interrupt((signal) =>
    console.error(`\n${signal}: saving where it stands; once more ends at once`)
  );
  using bars = new Bars();
  const shared: PrepareOptions = {
    ...rest,
    tokensPerShard,
    signal: interrupt.signal,
    onProgress: (progress) => bars.prepared(progress),
  };
  try {
    const { paths, tokens, documents, complete } = files.length
      ? await prepareCorpus(files, out, shared)
      : await prepareFineWebEdu(out, {
        ...shared,
        keepDownloads,
        onDownload: (file, done, total) => bars.downloaded(file, done, total),
      });
    bars[Symbol.dispose]();
    if (interrupt.requested && !complete) return stopped(interrupt);
    if (complete && tokens === 0) {
      console.error(`error: prepare: expected texts but got none in ${files.join(", ")}`);
      return FAILED;
    }
    print(
      `${counted(tokens, "token")} of ${counted(documents, "document")} in ` +
        `${counted(paths.length, "shard")} in ${out}` +
        (complete ? "" : "; there is more: the same command with more --shards goes on"),
    );
    if (complete && paths.length < 2) {
      console.error(
        `the first shard is for validation, and there is none to train on: make shards of fewer tokens with ` +
          "--shard-tokens, or train on a text as it is, train --data book.txt",
      );
    }
    return 0;
  } catch (error) {
    bars[Symbol.dispose]();
    if (interrupt.requested) return stopped(interrupt);
    console.error(`error: ${messageOf(error)}`);
    console.error("what is done is kept: the same command goes on from there");
    return FAILED;
  }
}

function counted(count: number, what: string): string {
  return `${formatCount(count)} ${what}${count === 1 ? "" : "s"}`;
}

function stopped({ exitCode }: Interrupt): number {
  console.error("stopped; the same command goes on from there");
  return exitCode;
}

/** Shows one bar at a time: for the download of a file, or for the whole. */
class Bars implements Disposable {
  #label = "";
  #bar: Promise<Progress> | undefined;

  downloaded(file: string, done: number, total: number): void {
    this.#show(`downloading ${file}`, done, total, "");
  }

  prepared({ doneBytes, totalBytes, tokens, shards, file }: PrepareProgress): void {
    this.#show(
      "tokenizing",
      doneBytes,
      totalBytes,
      `| ${formatCount(tokens)} tokens, ${shards} shards | ${file}`,
    );
  }

  [Symbol.dispose](): void {
    this.#bar?.then((bar) => bar.stop());
    this.#bar = undefined;
    this.#label = "";
  }

  #show(label: string, done: number, total: number, note: string): void {
    if (label !== this.#label) {
      this[Symbol.dispose]();
      this.#label = label;
      this.#bar = openProgress({
        label,
        total,
        unit: `bytes of ${formatBytes(total)}`,
        lineEvery: 10,
      });
    }
    this.#bar?.then((bar) => bar.update(done, note));
  }
}
