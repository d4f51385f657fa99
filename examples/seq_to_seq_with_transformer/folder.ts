/** Where runs of `seq_to_seq_with_transformer.ts` keep their files. */
import { newestRun, RunFolder } from "../../mod.ts";
import { exists, newRunName, RUNS } from "../../src/cli/runs.ts";
import type { CommandLine, Options } from "./options.ts";

const KIND = "translator";
const OPTIONS = "options.json";

/** What may be said of a run that goes on; the rest is as it was. */
const MAY_CHANGE = ["--resume", "--device", "--gpu"];

/** The run that `--resume` names, or undefined for a new one. */
export async function openResumed(
  { resume, given, options: asked }: CommandLine,
): Promise<{ folder: RunFolder; options: Options } | undefined> {
  if (resume === undefined) return undefined;
  const fixed = given.filter((name) => !MAY_CHANGE.includes(name));
  if (fixed.length) {
    throw new Error(`A run goes on with its own options: leave out ${fixed.join(", ")}`);
  }
  const found = resume === true ? await newest() : resume;
  const path = `${found}/${OPTIONS}`;
  if (!await exists(path)) throw new Error(`There is no run to resume in ${found}`);
  const folder = await RunFolder.open(found);
  const options: Options = JSON.parse(await Deno.readTextFile(path));
  if (given.includes("--device")) options.device = asked.device;
  if (given.includes("--gpu")) options.gpu = asked.gpu;
  return { folder, options };
}

/** The folder of a new run, in which its options are kept. */
export async function newFolder({ out, options }: CommandLine): Promise<RunFolder> {
  const folder = out === undefined
    ? await RunFolder.create(RUNS, newRunName(`${KIND}-${options.preset}`))
    : await RunFolder.open(out);
  const path = `${folder.path}/${OPTIONS}`;
  if (await exists(path)) {
    folder[Symbol.dispose]();
    throw new Error(`${folder.path} holds another run: go on with --resume ${folder.path}`);
  }
  await Deno.writeTextFile(path, JSON.stringify(options, null, 2) + "\n");
  return folder;
}

/** The folder of the model to translate with. */
export async function chooseModel({ model }: CommandLine): Promise<string> {
  return model ?? await newest();
}

async function newest(): Promise<string> {
  const found = await newestRun(RUNS, [KIND]);
  if (found === undefined) throw new Error(`There is no run of ${KIND} in ${RUNS}/`);
  return found;
}
