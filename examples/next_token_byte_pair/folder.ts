/** Where a run of `next_token_byte_pair.ts` keeps its files. */
import { newestRun, RunFolder } from "../../mod.ts";
import { exists, newRunName, RUNS } from "../../src/cli/runs.ts";
import type { CommandLine, Options } from "./options.ts";

const KIND = "next-token";

/** What may be said of a run that goes on; the rest is as it was. */
const MAY_CHANGE = ["--resume", "--device", "--gpu"];

/** A run's folder, which is this process's, and its options: those of a new run are kept in the folder. */
export interface Run {
  readonly folder: RunFolder;
  readonly options: Options;
}

/** A new run, or the one that `--resume` names. */
export async function openRun(line: CommandLine): Promise<Run> {
  return line.resume === undefined ? await newRun(line) : await resumeRun(line, line.resume);
}

async function newRun({ out, options }: CommandLine): Promise<Run> {
  const folder = out === undefined
    ? await RunFolder.create(RUNS, newRunName(`${KIND}-${options.preset}`))
    : await RunFolder.open(out);
  const path = `${folder.path}/options.json`;
  if (await exists(path)) {
    folder[Symbol.dispose]();
    throw new Error(`${folder.path} holds another run: go on with --resume ${folder.path}`);
  }
  await Deno.writeTextFile(path, JSON.stringify(options, null, 2) + "\n");
  return { folder, options };
}

async function resumeRun(
  { given, options: asked }: CommandLine,
  resume: string | true,
): Promise<Run> {
  const fixed = given.filter((name) => !MAY_CHANGE.includes(name));
  if (fixed.length) {
    throw new Error(`A run goes on with its own options: leave out ${fixed.join(", ")}`);
  }
  const found = resume === true ? await newestRun(RUNS, [KIND]) : resume;
  if (found === undefined) throw new Error(`There is no run of ${KIND} in ${RUNS}/`);
  const path = `${found}/options.json`;
  if (!await exists(path)) throw new Error(`There is no run to resume in ${found}`);
  const folder = await RunFolder.open(found);
  const options: Options = JSON.parse(await Deno.readTextFile(path));
  if (given.includes("--device")) options.device = asked.device;
  if (given.includes("--gpu")) options.gpu = asked.gpu;
  return { folder, options };
}
