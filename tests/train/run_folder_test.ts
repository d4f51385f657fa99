// Two runs never share a folder.
import assert from "node:assert/strict";
import { join } from "node:path";
import { newestRun, RunFolder } from "../../src/train/run_folder.ts";
import { inFolder } from "../support/examples.ts";

const module = new URL("../../src/train/run_folder.ts", import.meta.url).href;

/** A process that takes a folder, says so, and keeps it until it is killed. */
function start(body: string): Deno.ChildProcess {
  const code = `import { RunFolder } from "${module}";\n${body}\nsetInterval(() => folder, 1000);`;
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-check",
      "--no-config",
      `data:text/typescript,${encodeURIComponent(code)}`,
    ],
    stdout: "piped",
  }).spawn();
}

async function firstLine(child: Deno.ChildProcess): Promise<string> {
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  return new TextDecoder().decode(value).trim();
}

Deno.test("RunFolder.create() gives processes that start at once a folder each", () =>
  inFolder(async (folder) => {
    const parent = join(folder, "runs");
    const children = Array.from({ length: 4 }, () =>
      start(`
        const folder = await RunFolder.create(${JSON.stringify(parent)}, "gpt2-tiny");
        console.log(folder.path);`));
    const paths = await Promise.all(children.map(firstLine));
    children.forEach((child) => child.kill("SIGKILL"));
    await Promise.all(children.map((child) => child.status));
    const names = ["gpt2-tiny", "gpt2-tiny-2", "gpt2-tiny-3", "gpt2-tiny-4"];
    assert.deepEqual(paths.toSorted(), names.map((name) => `${parent}/${name}`));
  }));

Deno.test("RunFolder.open() refuses a folder in use, until its process is gone, killed or not", () =>
  inFolder(async (folder) => {
    const path = join(folder, "run");
    const child = start(`
      const folder = await RunFolder.open(${JSON.stringify(path)});
      console.log("taken");`);
    assert.equal(await firstLine(child), "taken");
    await assert.rejects(RunFolder.open(path), {
      message: `expected a folder that no run uses but got ${path}, of process ${child.pid}; ` +
        "wait for its end, or name another folder",
    });
    child.kill("SIGKILL");
    await child.status;
    {
      using taken = await RunFolder.open(path);
      await assert.rejects(RunFolder.open(taken.path), new RegExp(`process ${Deno.pid};`));
    }
    (await RunFolder.open(path))[Symbol.dispose]();
  }));

Deno.test("newestRun() passes over files, dangling links and other kinds of runs", () =>
  inFolder(async (folder) => {
    assert.equal(await newestRun(join(folder, "none"), ["gpt2-"]), undefined);
    for (const [i, name] of ["gpt2-b", "gpt2-a", "other", "gpt2-file"].entries()) {
      const path = join(folder, name);
      await (name === "gpt2-file" ? Deno.writeTextFile(path, "") : Deno.mkdir(path));
      await Deno.utime(path, 1000 + i, 1000 + i);
    }
    await Deno.symlink("nowhere", join(folder, "gpt2-link"));
    assert.equal(await newestRun(folder, ["gpt2-"]), `${folder}/gpt2-a`);
    assert.equal(await newestRun(folder, ["x", "o"]), `${folder}/other`);
  }));
