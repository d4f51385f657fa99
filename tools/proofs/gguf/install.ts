/**
 * llama.cpp from npm, `node-llama-cpp` with its prebuilt binaries, in `.llamacpp/` of the repository.
 *
 * @module
 */

/** The version that is held to. */
const VERSION = "3.22.1";

/** The folder of the packages, with a slash at its end. */
export const LLAMACPP: string = new URL("../../../.llamacpp/", import.meta.url).pathname;

/** Flags by which Deno finds the packages of {@linkcode LLAMACPP} for a program that is run there. */
export const LLAMACPP_FLAGS = ["-A", "--no-config", "--node-modules-dir=manual"] as const;

/** Installs it unless it is there. Needs npm; some 1 GB, of which most is for GPUs. */
export async function installLlamaCpp(): Promise<void> {
  await Deno.mkdir(LLAMACPP, { recursive: true });
  await Deno.writeTextFile(`${LLAMACPP}package.json`, `{ "private": true, "type": "module" }`);
  const names = await Array.fromAsync(Deno.readDir(LLAMACPP), ({ name }) => name);
  if (names.includes("node_modules")) return;
  const { success, stderr } = await new Deno.Command("npm", {
    args: ["install", "--ignore-scripts", `node-llama-cpp@${VERSION}`],
    cwd: LLAMACPP,
  }).output();
  if (!success) throw new Error(`npm install: ${new TextDecoder().decode(stderr)}`);
}
