/** The folders in which the examples keep their runs. */

/** The folder of all runs. */
export const RUNS = "runs";

/** The name of a new run's folder. */
export function newRun(kind: string): string {
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  return `${RUNS}/${kind}-${time}`;
}

/** The folder of the newest run whose name begins with `kind`. */
export async function newestRun(kind: string): Promise<string> {
  const names: string[] = [];
  if (await exists(RUNS)) {
    for await (const { name } of Deno.readDir(RUNS)) if (name.startsWith(kind)) names.push(name);
  }
  const times = await Promise.all(
    names.map(async (name) => (await Deno.stat(`${RUNS}/${name}`)).mtime?.getTime() ?? 0),
  );
  const newest = names[times.indexOf(Math.max(...times))];
  if (newest === undefined) throw new Error(`There is no run of ${kind} in ${RUNS}/`);
  return `${RUNS}/${newest}`;
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
