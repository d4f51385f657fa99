/** Where a run of `reproduce_gpt.ts` keeps its files. */
import type { Options } from "./options.ts";

const RUNS = "runs";

/** The folder of the run to go on with, or a new one; `--out` and `--resume` name it. */
export async function chooseFolder({ out, resume, preset }: Options): Promise<string> {
  if (typeof resume === "string") return resume;
  if (out !== undefined) return await checkNew(out, resume);
  if (resume === undefined) {
    const time = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
    return `${RUNS}/${preset}-${time}`;
  }
  const newest = (await entries(RUNS)).toSorted((a, b) => b.time - a.time)[0];
  if (!newest) throw new Error(`There is no run to resume in ${RUNS}/`);
  return `${RUNS}/${newest.name}`;
}

/** A folder that already holds checkpoints is not written into by accident. */
async function checkNew(folder: string, resume: true | undefined): Promise<string> {
  const used = (await entries(folder)).some(({ name }) => name.endsWith(".safetensors"));
  if (used && !resume) {
    throw new Error(`${folder} holds checkpoints of another run: go on with --resume ${folder}`);
  }
  return folder;
}

async function entries(folder: string): Promise<{ name: string; time: number }[]> {
  const found: { name: string; time: number }[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      const { mtime } = await Deno.stat(`${folder}/${name}`);
      found.push({ name, time: mtime?.getTime() ?? 0 });
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}
