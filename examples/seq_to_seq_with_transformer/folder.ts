/** Where runs of `seq_to_seq_with_transformer.ts` keep their files. */
import { exists, newestRun, newRun } from "../shared/runs.ts";
import type { CommandLine, Options } from "./options.ts";

const KIND = "translator";
const OPTIONS = "options.json";

/** What may be said of a run that goes on; the rest is as it was. */
const MAY_CHANGE = ["--resume", "--device"];

/** The run's folder and options: a new one's, which is not made yet, or those kept in the folder. */
export async function chooseRun(line: CommandLine): Promise<{ folder: string; options: Options }> {
  const { resume } = line;
  if (resume === undefined) {
    const folder = line.out ?? newRun(`${KIND}-${line.options.preset}`);
    if (await exists(`${folder}/${OPTIONS}`)) {
      throw new Error(`${folder} holds another run: go on with --resume ${folder}`);
    }
    return { folder, options: line.options };
  }
  const fixed = line.given.filter((name) => !MAY_CHANGE.includes(name));
  if (fixed.length) {
    throw new Error(`A run goes on with its own options: leave out ${fixed.join(", ")}`);
  }
  const folder = typeof resume === "string" ? resume : await newestRun(KIND);
  const path = `${folder}/${OPTIONS}`;
  if (!await exists(path)) throw new Error(`There is no run to resume in ${folder}`);
  const options: Options = JSON.parse(await Deno.readTextFile(path));
  if (line.given.includes("--device")) options.device = line.options.device;
  return { folder, options };
}

/** Makes the folder of a run and keeps the options there. */
export async function keepOptions(folder: string, options: Options): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(`${folder}/${OPTIONS}`, JSON.stringify(options, null, 2) + "\n");
}

/** The folder of the model to translate with. */
export async function chooseModel({ model }: CommandLine): Promise<string> {
  return model ?? await newestRun(KIND);
}
