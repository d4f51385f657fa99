// Projects with stricter flags than ours get no errors from our files: the library, the command line, the examples, the documentation.
import assert from "node:assert/strict";
import { join } from "node:path";
import { inFolder } from "../support/examples.ts";

const root = new URL("../../", import.meta.url);

Deno.test("library, CLI, examples and the code of the documentation type-check with the strictest flags", () =>
  inFolder(async (folder) => {
    const compilerOptions = {
      ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true },
      ...{ noImplicitReturns: true, noImplicitOverride: true, noFallthroughCasesInSwitch: true },
      ...{ noUnusedLocals: true, noUnusedParameters: true },
      lib: ["esnext", "dom", "dom.iterable", "dom.asynciterable", "deno.ns"], // no deno.webgpu
    };
    const imports = {
      "@dinograd/dinograd": String(new URL("mod.ts", root)),
      "@dinograd/dinograd/kernel": String(new URL("kernel.ts", root)),
    };
    await Deno.writeTextFile(
      join(folder, "deno.json"),
      JSON.stringify({ compilerOptions, imports }),
    );
    const entries = ["mod.ts", "kernel.ts", "src/cli/cli.ts", ...examples()];
    const program = entries.map((entry) => `import "${new URL(entry, root)}";`);
    program.push(...await writeSamples(folder));
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

/** Writes each block of code in the README and in docs/ into a file; returns the lines that import them. */
async function writeSamples(folder: string): Promise<string[]> {
  const docs = [...Deno.readDirSync(new URL("docs/", root))].map(({ name }) => `docs/${name}`);
  const lines: string[] = [];
  for (const page of ["README.md", ...docs.filter((name) => name.endsWith(".md"))]) {
    const text = await Deno.readTextFile(new URL(page, root));
    for (const [, code] of text.matchAll(/^```ts\n([^]*?)^```/gm)) {
      const file = `sample_${lines.length}.ts`;
      await Deno.writeTextFile(join(folder, file), `// ${page}\n${code}\nexport {};\n`);
      lines.push(`import "./${file}";`);
    }
  }
  assert.ok(lines.length > 9);
  return lines;
}

function examples(): string[] {
  return ["examples/", "examples/browser/"].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, root))]
      .filter(({ name }) => name.endsWith(".ts"))
      .map(({ name }) => folder + name)
  );
}
