/** The folders in which programs keep their runs. */
import { newestRun, RunFolder } from "../../mod.ts";

/** The folder of all runs. */
export const RUNS = "runs";

/** The name of a new run's folder. */
export function newRunName(kind: string): string {
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  return `${kind}-${time}`;
}

/** Whether a file or folder of this name exists. */
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

/** The file that makes a folder an adapter's. */
const ADAPTER = "adapter_config.json";

/** The name of the base model of the adapter in a folder; undefined if there is no adapter. */
export async function baseModelOf(folder: string): Promise<string | undefined> {
  const file = `${folder}/${ADAPTER}`;
  if (!await exists(file)) return undefined;
  const { base_model_name_or_path: base } = await readJson(file) as Record<string, unknown>;
  if (typeof base === "string") return base;
  throw new Error(`${file}: expected the name of its model but got none`);
}

/** The folders of models and adapters inside a folder, such as a run's. */
export async function modelsIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  if (!await exists(`${folder}/.`)) return found; // nothing there, or a file
  for await (const { name } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (await exists(`${path}/config.json`) || await exists(`${path}/${ADAPTER}`)) found.push(path);
  }
  return found.sort();
}

/** What a command line says about a run. */
export interface RunRequest<O> {
  /** The options of a new run. */
  options: O;
  /** The folder of a new run. */
  out?: string;
  /** The folder of a run to resume; true for the newest. */
  resume?: string | true;
  /** The options that were given, as they were typed. */
  given: string[];
}

/** A run before it begins or resumes. */
export interface Run<O> {
  readonly options: O;
  /** Opens its folder, which then belongs to this process. A new one is created, and the options are stored in it. */
  open(): Promise<RunFolder>;
}

/** The options that may be given for a resumed run; the rest stays as it was. */
const MAY_CHANGE = ["--resume", "--device", "--gpu"];

/** Returns a new run, or the one that `--resume` names. `kind` begins the names of folders in `runs/`. */
export async function findRun<
  O extends { preset: string; device: string; gpu?: "dawn" | undefined },
>(
  kind: string,
  request: RunRequest<O>,
): Promise<Run<O>> {
  const { options, out, resume, given } = request;
  if (resume === undefined) return { options, open: () => newFolder(kind, options, out) };
  const fixed = given.filter((name) => !MAY_CHANGE.includes(name));
  if (fixed.length) {
    throw new Error(
      `--resume: expected the run's own options but got ${fixed.join(", ")}; leave them out`,
    );
  }
  const found = resume === true ? await newestOf(kind) : resume;
  const path = `${found}/options.json`;
  if (!await exists(path)) throw new Error(`--resume: expected a run in ${found} but got none`);
  const begun = await readJson(path) as O;
  if (given.includes("--device")) begun.device = options.device;
  if (given.includes("--gpu")) begun.gpu = options.gpu;
  return { options: begun, open: () => RunFolder.open(found) };
}

/** Returns the JSON in a file; an error names the file. */
async function readJson(file: string): Promise<unknown> {
  const text = await Deno.readTextFile(file);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file}: expected JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Returns the newest run of a kind. Throws if there is none. */
export async function newestOf(kind: string): Promise<string> {
  const found = await newestRun(RUNS, [kind]);
  if (found === undefined) throw new Error(`expected a run of ${kind} in ${RUNS}/ but got none`);
  return found;
}

async function newFolder<O extends { preset: string }>(
  kind: string,
  options: O,
  out: string | undefined,
): Promise<RunFolder> {
  const folder = out === undefined
    ? await RunFolder.create(RUNS, newRunName(`${kind}-${options.preset}`))
    : await RunFolder.open(out);
  const path = `${folder.path}/options.json`;
  if (await exists(path)) {
    folder[Symbol.dispose]();
    throw new Error(
      `--out: expected a folder without a run but got ${folder.path}; resume with --resume ${folder.path}`,
    );
  }
  await Deno.writeTextFile(path, JSON.stringify(options, null, 2) + "\n");
  return folder;
}
