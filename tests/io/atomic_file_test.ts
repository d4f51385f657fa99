// Temporary files: removed when nobody writes them any more, and only then.
import assert from "node:assert/strict";
import { join } from "node:path";
import { removeStrayTemporaries, writeFileAtomically } from "../../src/io/atomic_file.ts";
import { inFolder } from "../support/examples.ts";

const module = new URL("../../src/io/atomic_file.ts", import.meta.url).href;

/** A process in the middle of writing `path`; `then` is what it does next. */
async function startWriting(path: string, then: string): Promise<Deno.ChildProcess> {
  const code = `import { writeFileAtomically } from "${module}";
    await writeFileAtomically(${JSON.stringify(path)}, async (file) => {
      await file.write(new Uint8Array(9));
      console.log("writing");
      await Deno.stdin.read(new Uint8Array(1));
      ${then}
    });`;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-check",
      "--no-config",
      `data:text/typescript,${encodeURIComponent(code)}`,
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  return child;
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("removeStrayTemporaries() leaves a file that another process writes, and takes a killed one's", () =>
  inFolder(async (folder) => {
    const [living, killed] = await Promise.all(
      ["living", "killed"].map((name) => startWriting(join(folder, name), "")),
    );
    killed.kill("SIGKILL");
    await Promise.all([killed.status, killed.stdin.close().catch(() => {})]);
    const removed = await removeStrayTemporaries(folder);
    assert.equal(removed.length, 1);
    assert.match(removed[0], /^\.killed\.dinograd-/);
    await living.stdin.close();
    assert.ok((await living.status).success, "its file was removed while it was written");
    assert.deepEqual(names(folder), ["living"]);
  }));

Deno.test("removeStrayTemporaries() leaves a file that this process writes", () =>
  inFolder(async (folder) => {
    await writeFileAtomically(join(folder, "a"), async () => {
      assert.deepEqual(await removeStrayTemporaries(folder), []);
    });
    assert.deepEqual(names(folder), ["a"]);
  }));

Deno.test("writeFileAtomically() leaves nothing behind where the process exits in the middle", () =>
  inFolder(async (folder) => {
    const child = await startWriting(join(folder, "a"), "Deno.exit(3);");
    await child.stdin.close();
    assert.equal((await child.status).code, 3);
    assert.deepEqual(names(folder), []);
  }));
