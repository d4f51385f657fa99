// A user's project with stricter flags than ours gets no errors from our files.
import assert from "node:assert/strict";
import { join } from "node:path";
import { inFolder } from "../support/examples.ts";

const root = new URL("../../", import.meta.url).href;

Deno.test("the library type-checks in a project with the strictest flags", () =>
  inFolder(async (folder) => {
    const compilerOptions = {
      ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true },
      ...{ noImplicitReturns: true, noImplicitOverride: true, noFallthroughCasesInSwitch: true },
      ...{ noUnusedLocals: true, noUnusedParameters: true },
      lib: ["esnext", "dom", "dom.iterable", "dom.asynciterable", "deno.ns"], // no deno.webgpu
    };
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ compilerOptions }));
    const program = ["mod.ts", "kernel.ts"].map((entry) => `import "${root}${entry}";`);
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
