/** Where a run keeps its files, and what it goes on from. */
import {
  type Checkpoint,
  checkpointExtra,
  listCheckpoints,
  loadNewestCheckpoint,
  newestRun,
  RunFolder,
} from "../../../mod.ts";
import { newRunName, RUNS } from "../runs.ts";
import { type Options, RECIPES } from "./options.ts";
import type { Curves } from "./report.ts";

/** A run that goes on. */
export interface Resumed {
  readonly folder: RunFolder;
  readonly checkpoint: Checkpoint;
  readonly options: Partial<Options>;
  readonly curves: Curves;
}

/** The run that `--resume` names, if it does, or the newest. */
export async function openResumed({ out, resume }: Options): Promise<Resumed | undefined> {
  if (resume === undefined) return undefined;
  const path = resume === true
    ? out ?? await newestRun(RUNS, RECIPES.map((recipe) => `${recipe}-`))
    : resume;
  if (path === undefined) throw new Error(`There is no run to resume in ${RUNS}/`);
  if ((await listCheckpoints(path)).length === 0) {
    throw new Error(`There is no checkpoint in ${path}`);
  }
  const folder = await RunFolder.open(path);
  const checkpoint = (await loadNewestCheckpoint(path, {
    onRefused: (error) => console.error(`${error.message}; trying the one before`),
  }))!;
  const { options, curves } = checkpointExtra(checkpoint, ["options", "curves"]) as {
    options: Partial<Options>;
    curves: Curves & Record<string, never>;
  };
  return { folder, checkpoint, options, curves };
}

/** A new run's folder; one that `--out` names must hold no other run. */
export async function newFolder({ out, recipe, preset }: Options): Promise<RunFolder> {
  if (out === undefined) return await RunFolder.create(RUNS, newRunName(`${recipe}-${preset}`));
  const folder = await RunFolder.open(out);
  if ((await listCheckpoints(out)).length === 0) return folder;
  folder[Symbol.dispose]();
  throw new Error(`${out} holds checkpoints of another run: go on with --resume ${out}`);
}
