// A program that imports the library becomes one file, for Deno and for a browser.
import assert from "node:assert/strict";
import { join } from "node:path";
import { inFolder } from "../support/examples.ts";

const entry = new URL("../../mod.ts", import.meta.url).href;

/** Trains a step on a device, and says the losses before and after. */
const program = (open: string) => `
import { AdamW, CpuDevice, GPT2, RandomState, Scope, tensor, BytePairTokenizer } from "${entry}";
const device = ${open};
const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 4 });
const ids = Int32Array.from(tokenizer.encode("lower and lower"));
const sizes = { vocabSize: tokenizer.vocabSize, maxPositionEmbeddings: 16, hiddenSize: 16 };
const model = new GPT2({ ...sizes, numHiddenLayers: 1, numAttentionHeads: 2 }, { device, random: new RandomState(1) });
const optimizer = new AdamW(model.parameters(), { lr: 0.01 });
const losses = [];
for (let step = 0; step < 5; step++) {
  using _scope = new Scope();
  const shape = [1, ids.length - 1];
  const loss = model.loss(tensor(ids.slice(0, -1), { shape, device }), tensor(ids.slice(1), { shape, device }));
  loss.backward();
  optimizer.step();
  optimizer.zeroGrad();
  losses.push(await loss.item());
}
console.log(JSON.stringify(losses));
device.close();
`;

async function deno(folder: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: folder })
    .output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

async function bundled(folder: string, open: string, ...options: string[]): Promise<void> {
  await Deno.writeTextFile(join(folder, "program.ts"), program(open));
  await deno(folder, "bundle", ...options, "program.ts", "-o", "bundle.js");
}

function assertTrains(output: string): void {
  const losses: number[] = JSON.parse(output);
  assert.equal(losses.length, 5);
  assert.ok(losses[4] < losses[0], output);
}

Deno.test("a bundle for Deno trains without a permission, threads included", () =>
  inFolder(async (folder) => {
    await bundled(folder, "CpuDevice.open({ threads: 2 })");
    assertTrains(await deno(folder, "run", "--no-prompt", "bundle.js"));
  }));

// On the CPU: without `Deno` the library takes WebGPU for a browser's, whose WGSL wants lines that Deno's does not know.
Deno.test("a bundle for the browser trains where there is neither Deno nor Node", () =>
  inFolder(async (folder) => {
    await bundled(folder, "CpuDevice.open()", "--platform", "browser");
    const code = await Deno.readTextFile(join(folder, "bundle.js"));
    assert.doesNotMatch(code.replaceAll(/`[^`]*`/g, ""), /^import |^export .* from /m);
    const page = `delete globalThis.Deno; delete globalThis.process; delete globalThis.Buffer;
      await import("./bundle.js");`;
    await Deno.writeTextFile(join(folder, "page.js"), page);
    assertTrains(await deno(folder, "run", "--no-prompt", "page.js"));
  }));
