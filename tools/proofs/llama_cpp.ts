/**
 * llama.cpp as a judge: fetched by npm as `node-llama-cpp` into `.llamacpp/` (some 1 GB), for x86-64 Linux.
 *
 * @module
 */

const VERSION = "3.22.1";
const PROGRAM = new URL("./gguf/llamacpp.mjs", import.meta.url).pathname;

/** Where it is. */
export const PACKAGES = new URL("../../.llamacpp/", import.meta.url).pathname;

/** What a program writes. Throws an `Error` with its messages where it fails. */
export async function run(command: string, args: string[], cwd?: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd }).output();
  if (!success) throw new Error(`${command} ${args[0]}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Fetches it, unless it is there. */
export async function installLlamaCpp(): Promise<void> {
  await Deno.mkdir(PACKAGES, { recursive: true });
  await Deno.writeTextFile(`${PACKAGES}package.json`, `{ "private": true, "type": "module" }`);
  const isThere = (await Array.fromAsync(Deno.readDir(PACKAGES)))
    .some(({ name }) => name === "node_modules");
  if (isThere) return;
  await run("npm", ["install", "--ignore-scripts", `node-llama-cpp@${VERSION}`], PACKAGES);
}

/** What it makes of a GGUF file: `length` greedy ids after `ids`, and the ids of `texts`. */
export async function askLlamaCpp(
  request: { model: string; ids: readonly number[]; length: number; texts?: readonly string[] },
): Promise<{ ids: number[]; texts: number[][] }> {
  const out = await run(Deno.execPath(), [
    ...["run", "-A", "--no-config", "--node-modules-dir=manual", PROGRAM],
    ...[PACKAGES, JSON.stringify({ texts: [], ...request })],
  ], PACKAGES);
  return JSON.parse(out.trim().split("\n").at(-1)!);
}
