// The shortest example, with exactly the permissions that its header names.
import assert from "node:assert/strict";
import { join } from "node:path";
import { finish, inFolder, startExample, writeText } from "../support/examples.ts";

Deno.test("train_gpt.ts learns a text, with the permissions that its header names", () =>
  inFolder(async (folder) => {
    await writeText(join(folder, "book.txt"));
    const header = await Deno.readTextFile(new URL("../../examples/train_gpt.ts", import.meta.url));
    assert.match(header, /deno run examples\/train_gpt\.ts\n/, "Moby Dick needs no permission");
    const [, flag] = /deno run (--allow\S+) examples\/train_gpt\.ts book\.txt/.exec(header)!;
    const child = startExample(folder, [flag], "train_gpt.ts", ["book.txt"]);
    const { code, text } = await finish(child);
    assert.equal(code, 0, text);
    const losses = Array.from(text.matchAll(/loss (\d+\.\d{4})/g), ([, loss]) => Number(loss));
    assert.ok(losses[0] > 10.5 && losses.at(-1)! < 8, text);
    assert.match(text, /validation loss .*\nThe/);
  }));

Deno.test("train_gpt.ts takes Moby Dick, with no permission at all", () =>
  inFolder(async (folder) => {
    const child = startExample(folder, [], "train_gpt.ts", []);
    const { text } = await finish(child, (text) => {
      if (/step 1: loss/.test(text) && !text.includes("step 20:")) child.kill("SIGTERM");
    });
    assert.match(text, /step 1: loss 10\.\d+/);
    assert.doesNotMatch(text, /error/);
  }));
