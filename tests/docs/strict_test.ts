// Projects with stricter flags than ours get no errors from our files: the library, the command line, the examples.
import assert from "node:assert/strict";
import { join } from "node:path";
import { inFolder } from "../support/examples.ts";

const root = new URL("../../", import.meta.url);

Deno.test("library, CLI and examples type-check in a project with the strictest flags", () =>
  inFolder(async (folder) => {
    const compilerOptions = {
      ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true },
      ...{ noImplicitReturns: true, noImplicitOverride: true, noFallthroughCasesInSwitch: true },
      ...{ noUnusedLocals: true, noUnusedParameters: true },
      lib: ["esnext", "dom", "dom.iterable", "dom.asynciterable", "deno.ns"], // no deno.webgpu
    };
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ compilerOptions }));
    const entries = ["mod.ts", "kernel.ts", "src/cli/cli.ts", ...examples()];
    const program = entries.map((entry) => `import "${new URL(entry, root)}";`);
    await Deno.writeTextFile(join(folder, "program.ts"), program.join("\n"));
    const args = ["check", "program.ts"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args,
      cwd: folder,
      env: { NO_COLOR: "1" },
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.equal(code, 0, text.slice(0, 5000));
  }));

function examples(): string[] {
  return ["examples/", "examples/browser/"].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, root))]
      .filter(({ name }) => name.endsWith(".ts"))
      .map(({ name }) => folder + name)
  );
}
