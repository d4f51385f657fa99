/**
 * Runs a format's cases in child processes and lives on when one dies.
 *
 * @module
 */
import { TextLineStream } from "./lines.ts";

/** What came of a format. */
export interface Tally {
  /** Its name. */
  readonly name: string;
  /** Cases that were tried. */
  cases: number;
  /** Of these, refused with an error. */
  refused: number;
  /** Of these, read. */
  accepted: number;
  /** What must not be, each once, with the case that first showed it. */
  readonly findings: string[];
}

/** How long and with which chances. */
export interface RunOptions {
  /** Where the chances come from. */
  readonly seed: string;
  /** How long. */
  readonly seconds: number;
  /** One case alone, which tells its error. */
  readonly only?: number;
}

/** A case that has not ended by then never will. */
const HANG_MILLISECONDS = 20_000;
/** Heap of the child in MiB, so that what fills it takes no machine along. */
const HEAP = 2048;

/** Runs a format; prints how far it is every two seconds. */
export async function runFormat(name: string, options: RunOptions): Promise<Tally> {
  const tally: Tally = { name, cases: 0, refused: 0, accepted: 0, findings: [] };
  const seen = new Set<string>();
  const find = (number: number, what: string) => {
    tally.findings.push(what);
    const kind = what.replace(/\d+/g, "0").slice(0, 60);
    if (seen.has(kind) && options.only === undefined) return;
    seen.add(kind);
    console.log(`  finding: ${what}`);
    console.log(`    again: deno task fuzz --format ${name} --case "${options.seed}:${number}"`);
  };
  const end = performance.now() + options.seconds * 1000;
  const line = setInterval(() => {
    const left = Math.max(0, Math.round((end - performance.now()) / 1000));
    console.log(`${name}: ${tally.cases} cases, ${tally.findings.length} findings, ${left} s left`);
  }, 2000);
  try {
    let number = options.only ?? 0;
    do {
      const left = (end - performance.now()) / 1000;
      number = await runChild(name, number, left, options, tally, find) + 1;
    } while (options.only === undefined && performance.now() < end);
  } finally {
    clearInterval(line);
  }
  return tally;
}

/** Runs cases from `first` on until the time is over or one of them ends the child; returns the last one's number. */
async function runChild(
  name: string,
  first: number,
  seconds: number,
  { seed, only }: RunOptions,
  tally: Tally,
  find: (number: number, what: string) => void,
): Promise<number> {
  const script = new URL("./child.ts", import.meta.url).href;
  // Not the child's own, which may be killed.
  const folder = await Deno.makeTempDir({ dir: await sharedMemory(), prefix: "dinograd-fuzz-" });
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", `--v8-flags=--max-old-space-size=${HEAP}`, script],
      ...[name, seed, String(first), String(Math.max(1, seconds)), folder],
      ...only === undefined ? [] : ["only"],
    ],
    stdout: "piped",
    stderr: only === undefined ? "null" : "inherit",
  }).spawn();
  let [number, started, begun, done, hangs] = [first, 0, performance.now(), false, false];
  const watch = setInterval(() => {
    if (performance.now() - begun < HANG_MILLISECONDS) return;
    hangs = true;
    child.kill("SIGKILL");
  }, 500);
  try {
    for await (const text of child.stdout.pipeThrough(new TextLineStream())) {
      if (text.startsWith("!")) find(number, JSON.parse(text.slice(1)));
      else if (text.startsWith("=")) {
        const { refused, accepted } = JSON.parse(text.slice(1));
        tally.refused += refused;
        tally.accepted += accepted;
        done = true;
      } else {
        number = Number(text);
        begun = performance.now();
        tally.cases++;
        started++;
      }
    }
    const { code, signal } = await child.status;
    if (hangs) find(number, `hangs: more than ${HANG_MILLISECONDS} ms`);
    else if (!done) find(number, `ends the process: ${signal ?? `exit code ${code}`}`);
    // Before the first case it can only be the fuzzer's own fault.
    if (started === 0) throw new Error(`${name}: the cases could not be made; try --case 0:0`);
  } finally {
    clearInterval(watch);
    await Deno.remove(folder, { recursive: true });
  }
  return number;
}

/** Where files are in memory, so that the disk does not set the pace. */
async function sharedMemory(): Promise<string | undefined> {
  try {
    return (await Deno.stat("/dev/shm")).isDirectory ? "/dev/shm" : undefined;
  } catch {
    return undefined; // the system's folder for such files
  }
}
