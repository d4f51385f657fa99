/** Runs the examples as a person would. */
import { dirname } from "node:path";

const examples = new URL("../../examples/", import.meta.url);

/** Starts an example in a folder with the permissions given. */
export function startExample(
  cwd: string,
  permissions: readonly string[],
  name: string,
  args: readonly string[],
): Deno.ChildProcess {
  const path = new URL(name, examples).pathname;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...permissions, path, ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Everything that a process prints, and its exit code; `onText` sees it while it grows. */
export async function finish(
  child: Deno.ChildProcess,
  onText: (text: string) => void = () => {},
): Promise<{ code: number; text: string; out: string }> {
  let [text, out] = ["", ""];
  const collect = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, isOut: boolean) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) {
      if (isOut) out += part;
      onText(text += part);
    }
  };
  const [{ code }] = await Promise.all([
    child.status,
    collect(child.stdout, true),
    collect(child.stderr, false),
  ]);
  return { code, text, out };
}

/** Runs a test in a folder of its own. */
export async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The permissions that the header of an example names. */
export async function flagsOf(name: string): Promise<string[]> {
  const header = await Deno.readTextFile(new URL(name, examples));
  const line = new RegExp(`deno run (--allow[^\\n]*) examples/${name}`).exec(header);
  if (!line) throw new Error(`${name}: its header has no line with "deno run --allow"`);
  return line[1].trim().split(/\s+/);
}

/** Writes a made-up text of 200 lines, always the same; its folder is made, too. */
export async function writeText(path: string): Promise<void> {
  const words = "the king sleeps while rain falls on old stone and no bell rings my lord".split(
    " ",
  );
  let state = 1;
  const word = () => {
    state = state * 48271 % 2147483647;
    return words[state % words.length];
  };
  const lines = Array.from(
    { length: 200 },
    () => Array.from({ length: 7 }, word).join(" ") + ".\n",
  );
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, lines.join(""));
}
