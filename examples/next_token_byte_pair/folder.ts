/** Where a run of `next_token_byte_pair.ts` keeps its files. */
import { exists, newestRun, newRun } from "../shared/runs.ts";
import type { CommandLine, Options } from "./options.ts";

const KIND = "next-token";

/** What may be said of a run that goes on; the rest is as it was. */
const MAY_CHANGE = ["--resume", "--device"];

/** The run's folder and options: those of a new run, which are kept in the folder, or those kept there. */
export async function openRun(line: CommandLine): Promise<{ folder: string; options: Options }> {
  const { resume } = line;
  if (resume === undefined) {
    const folder = line.out ?? newRun(`${KIND}-${line.options.preset}`);
    const path = `${folder}/options.json`;
    if (await exists(path)) {
      throw new Error(`${folder} holds another run: go on with --resume ${folder}`);
    }
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(path, JSON.stringify(line.options, null, 2) + "\n");
    return { folder, options: line.options };
  }
  const fixed = line.given.filter((name) => !MAY_CHANGE.includes(name));
  if (fixed.length) {
    throw new Error(`A run goes on with its own options: leave out ${fixed.join(", ")}`);
  }
  const folder = typeof resume === "string" ? resume : await newestRun(KIND);
  const path = `${folder}/options.json`;
  if (!await exists(path)) throw new Error(`There is no run to resume in ${folder}`);
  const options: Options = JSON.parse(await Deno.readTextFile(path));
  if (line.given.includes("--device")) options.device = line.options.device;
  return { folder, options };
}
