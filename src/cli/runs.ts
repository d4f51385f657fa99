/** The folders in which programs keep their runs. */
import { newestRun, RunFolder } from "../../mod.ts";

/** The folder of all runs. */
export const RUNS = "runs";

/** The name of a new run's folder. */
export function newRunName(kind: string): string {
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  return `${kind}-${time}`;
}

/** Whether there is a file or folder of this name. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}

/** What a command line says of a run. */
export interface RunRequest<O> {
  /** The options of a new run. */
  options: O;
  /** The folder of a new run. */
  out?: string;
  /** The folder of a run to go on with; true for the newest. */
  resume?: string | true;
  /** The options that were given, as they were typed. */
  given: string[];
}

/** A run's folder, which is this process's, and its options: those of a new run are kept in the folder. */
export interface Run<O> {
  readonly folder: RunFolder;
  readonly options: O;
}

/** What may be said of a run that goes on; the rest is as it was. */
const MAY_CHANGE = ["--resume", "--device"];

/** A new run, or the one that `--resume` names. `kind` begins the names of folders in `runs/`. */
export async function openRun<O extends { preset: string; device: string }>(
  kind: string,
  request: RunRequest<O>,
): Promise<Run<O>> {
  const { options, out, resume, given } = request;
  if (resume === undefined) return await newRun(kind, options, out);
  const fixed = given.filter((name) => !MAY_CHANGE.includes(name));
  if (fixed.length) {
    throw new Error(`A run goes on with its own options: leave out ${fixed.join(", ")}`);
  }
  const found = resume === true ? await newestOf(kind) : resume;
  const path = `${found}/options.json`;
  if (!await exists(path)) throw new Error(`There is no run to resume in ${found}`);
  const folder = await RunFolder.open(found);
  const begun: O = JSON.parse(await Deno.readTextFile(path));
  return {
    folder,
    options: given.includes("--device") ? { ...begun, device: options.device } : begun,
  };
}

/** The newest run of a kind. Throws where there is none. */
export async function newestOf(kind: string): Promise<string> {
  const found = await newestRun(RUNS, [kind]);
  if (found === undefined) throw new Error(`There is no run of ${kind} in ${RUNS}/`);
  return found;
}

async function newRun<O extends { preset: string }>(
  kind: string,
  options: O,
  out: string | undefined,
): Promise<Run<O>> {
  const folder = out === undefined
    ? await RunFolder.create(RUNS, newRunName(`${kind}-${options.preset}`))
    : await RunFolder.open(out);
  const path = `${folder.path}/options.json`;
  if (await exists(path)) {
    folder[Symbol.dispose]();
    throw new Error(`${folder.path} holds another run: go on with --resume ${folder.path}`);
  }
  await Deno.writeTextFile(path, JSON.stringify(options, null, 2) + "\n");
  return { folder, options };
}
