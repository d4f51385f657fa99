/** `dinograd prepare`: turns texts into token shards. */
import {
  type Communicator,
  endOfTextIds,
  formatBytes,
  formatCount,
  Interrupt,
  openCommunicator,
  openProgress,
  prepareCorpus,
  type PreparedCorpus,
  prepareFineWebEdu,
  type PrepareOptions,
  type PrepareProgress,
  type Progress,
  RunFolder,
} from "../../mod.ts";
import { FAILED, messageOf } from "./failures.ts";
import { print } from "./output.ts";
import { openTokenizer } from "./train/tokenizer.ts";

const ADVICE = "run the same command again to resume";

/** Options of `prepare`. */
export interface PrepareCommandOptions {
  readonly out: string;
  readonly prefix?: string;
  readonly tokenizer?: string;
  readonly field?: string;
  readonly shardTokens?: number;
  readonly shards?: number;
  readonly workers?: number;
  readonly keepDownloads?: boolean | undefined;
}

/**
 * Prepares files, or FineWeb-Edu's sample of ten billion tokens if none are named; under `mpirun` on all its ranks
 * together. Returns the exit code.
 */
export async function prepare(
  files: readonly string[],
  options: PrepareCommandOptions,
): Promise<number> {
  await using communicator = await openCommunicator();
  try {
    return await prepareOn(communicator, files, options);
  } catch (error) {
    if (communicator.size > 1) await communicator.abort(messageOf(error));
    throw error;
  }
}

async function prepareOn(
  communicator: Communicator,
  files: readonly string[],
  options: PrepareCommandOptions,
): Promise<number> {
  const { out, tokenizer: name, shardTokens: tokensPerShard, keepDownloads, ...rest } = options;
  const isFirst = communicator.rank === 0;
  for (const file of files) await Deno.stat(file); // fails before a folder is created
  const setup = { options: { tokenizer: name }, text: undefined, resumed: undefined, communicator };
  const tokenizer = name === undefined ? undefined : await openTokenizer(setup, () => {});
  using _folder = isFirst ? await RunFolder.open(out) : undefined;
  using interrupt = new Interrupt((signal) => {
    if (isFirst) console.error(`\n${signal}: saving progress; interrupt again to exit immediately`);
  });
  using bars = isFirst ? new Bars() : undefined;
  const shared: PrepareOptions = {
    ...{ ...rest, tokenizer, tokensPerShard },
    documentSeparator: tokenizer && endOfTextIds(tokenizer)[0],
    communicator,
    signal: interrupt.signal,
    onProgress: (progress) => bars?.prepared(progress),
  };
  try {
    const corpus = files.length
      ? await prepareCorpus(files, out, shared)
      : await prepareFineWebEdu(out, {
        ...shared,
        keepDownloads,
        onDownload: (file, done, total) => bars?.downloaded(file, done, total),
      });
    if (!isFirst) return 0;
    bars?.[Symbol.dispose]();
    const isStopped = !corpus.complete && corpus.paths.length < (options.shards ?? Infinity);
    return isStopped ? stopped(interrupt) : reported(corpus, files, out);
  } catch (error) {
    bars?.[Symbol.dispose]();
    const reason = interrupt.requested ? "stopped" : messageOf(error);
    if (communicator.size > 1) {
      await communicator.abort(`${reason}; ${ADVICE}`, interrupt.exitCode || FAILED);
    }
    if (interrupt.requested) return stopped(interrupt);
    console.error(`error: ${reason}`);
    console.error(`progress is kept; ${ADVICE}`);
    return FAILED;
  }
}

/** Says what was made; returns the exit code. */
function reported(
  { paths, tokens, documents, complete }: PreparedCorpus,
  files: readonly string[],
  out: string,
): number {
  if (complete && tokens === 0) {
    console.error(`error: prepare: expected texts but got none in ${files.join(", ")}`);
    return FAILED;
  }
  print(
    `${counted(tokens, "token")} of ${counted(documents, "document")} in ` +
      `${counted(paths.length, "shard")} in ${out}` +
      (complete ? "" : "; to resume, run the same command with more --shards"),
  );
  if (complete && paths.length < 2) {
    console.error(
      `the first shard is for validation, and there is none for training: make smaller shards with ` +
        "--shard-tokens, or train on a text itself with train --data book.txt",
    );
  }
  return 0;
}

function counted(count: number, what: string): string {
  return `${formatCount(count)} ${what}${count === 1 ? "" : "s"}`;
}

function stopped({ exitCode }: Interrupt): number {
  console.error(`stopped; ${ADVICE}`);
  return exitCode || FAILED; // the signal may have reached another rank
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
        from: done,
        unit: `bytes of ${formatBytes(total)}`,
        lineEvery: 10,
      });
    }
    this.#bar?.then((bar) => bar.update(done, note));
  }
}
