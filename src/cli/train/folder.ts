/** Where a run keeps its files, and what it goes on from. */
import {
  type Checkpoint,
  checkpointExtra,
  listCheckpoints,
  loadNewestCheckpoint,
  newestRun,
  RunFolder,
} from "../../../mod.ts";
import { UsageError } from "../failures.ts";
import { newRunName, RUNS } from "../runs.ts";
import type { Curves } from "./report.ts";

/** The folders that a command line names. */
interface Folders {
  readonly out?: string | undefined;
  readonly resume?: string | true | undefined;
}

/** A run that goes on. */
export interface Resumed<O> {
  readonly folder: RunFolder;
  readonly checkpoint: Checkpoint;
  readonly options: Partial<O>;
  readonly curves: Curves;
}

/** The run that `--resume` names, if it does, or the newest of some kinds, with which the names of folders begin. */
export async function openResumed<O>(
  kinds: readonly string[],
  { out, resume }: Folders,
): Promise<Resumed<O> | undefined> {
  if (resume === undefined) return undefined;
  if (resume !== true && out !== undefined) {
    throw new UsageError(
      `--resume ${resume}: expected no --out, as the run keeps its folder, but got ${out}`,
    );
  }
  const path = resume === true
    ? out ?? await newestRun(RUNS, kinds.map((kind) => `${kind}-`))
    : resume;
  if (path === undefined) throw new Error(`--resume: expected a run in ${RUNS}/ but got none`);
  if ((await listCheckpoints(path)).length === 0) {
    throw new Error(`--resume: expected a checkpoint in ${path} but got none`);
  }
  const folder = await RunFolder.open(path);
  const checkpoint = (await loadNewestCheckpoint(path, {
    onRefused: (error) => console.error(`${error.message}; trying the previous one`),
  }))!;
  const { options, curves } = checkpointExtra(checkpoint, ["options", "curves"]) as {
    options: Partial<O> & Record<string, never>;
    curves: Curves & Record<string, never>;
  };
  return { folder, checkpoint, options, curves };
}

/** A new run's folder, by `name` in `runs/`; one that `--out` names must hold no other run. */
export async function newFolder(name: string, { out }: Folders): Promise<RunFolder> {
  if (out === undefined) return await RunFolder.create(RUNS, newRunName(name));
  const folder = await RunFolder.open(out);
  if ((await listCheckpoints(out)).length === 0) return folder;
  folder[Symbol.dispose]();
  throw new Error(
    `--out: expected a folder without checkpoints but got ${out}; resume with --resume ${out}`,
  );
}
