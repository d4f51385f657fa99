// Parameters that may be left out read so in `deno doc`, which shows `x = 1` and `{ x } = {}` as required ones.
import assert from "node:assert/strict";

const root = new URL("../../", import.meta.url);

Deno.test("deno doc shows no parameter with a default as a required one", async () => {
  for (const entry of ["mod.ts", "kernel.ts"]) {
    const args = ["doc", "--json", entry];
    const { stdout } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).output();
    assert.deepEqual(withDefaults(JSON.parse(new TextDecoder().decode(stdout)).nodes), [], entry);
  }
});

Deno.test("a parameter with a default is found and named", () => {
  const params = [{ kind: "identifier" }, { kind: "assign", left: { name: "options" } }];
  const method = { name: "read", functionDef: { params } };
  assert.deepEqual(withDefaults({ "mod.ts": [{ name: "File", methods: [method] }] }), [
    "File.read: options",
  ]);
});

/** The parameters below a node of `deno doc --json` that have a default, with the names of what they belong to. */
function withDefaults(node: unknown, path: readonly string[] = []): string[] {
  if (Array.isArray(node)) return node.flatMap((one) => withDefaults(one, path));
  if (typeof node !== "object" || node === null) return [];
  const { name, params } = node as { name?: unknown; params?: unknown };
  const here = typeof name === "string" ? [...path, name] : path;
  const found = Array.isArray(params)
    ? params.filter(({ kind }) => kind === "assign")
      .map(({ left }) => `${here.join(".")}: ${left.name ?? "a destructured parameter"}`)
    : [];
  return [...found, ...Object.values(node).flatMap((one) => withDefaults(one, here))];
}
