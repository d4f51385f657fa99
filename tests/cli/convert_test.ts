// What is trained here, with a tokenizer of its own, converts and goes on with a text everywhere.
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  AdamW,
  BytePairTokenizer,
  CpuDevice,
  GPT2,
  GPT3,
  LLaMA,
  ModernGPT,
  RandomState,
  saveModel,
  Scope,
  tensor,
} from "../../mod.ts";
import { inFolder } from "../support/examples.ts";

const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;
const text = "The whale dives, and the sea is calm again. ".repeat(4);
const tokenizer = BytePairTokenizer.train(text, { merges: 20, specialTokens: ["<|endoftext|>"] });
const sizes = {
  vocabSize: tokenizer.vocabSize,
  maxPositionEmbeddings: 32,
  hiddenSize: 16,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
};

async function run(folder: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", cli, ...args],
    cwd: folder,
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

for (const Model of [GPT2, GPT3, LLaMA, ModernGPT]) {
  Deno.test(`cli: a ${Model.name} that was trained with its own tokenizer converts and generates`, () =>
    inFolder(async (folder) => {
      using device = CpuDevice.open({ threads: 1 });
      const model = new Model(sizes, { device, random: new RandomState(4) });
      using optimizer = new AdamW(model.parameters(), { lr: 0.01 });
      const ids = Int32Array.from(tokenizer.encode(text)).subarray(0, 33);
      for (let step = 0; step < 30; step++) {
        using _step = new Scope();
        const inputs = tensor(ids.subarray(0, 32), { shape: [1, 32], device });
        const targets = tensor(ids.subarray(1), { shape: [1, 32], device });
        model.loss(inputs, targets).backward();
        optimizer.step();
        optimizer.zeroGrad();
      }
      await saveModel(join(folder, "trained"), model, { tokenizer });
      model.dispose();
      const template = "{{ messages[0].content }}";
      await Deno.writeTextFile(join(folder, "trained", "chat_template.jinja"), template);
      await run(folder, ["convert", "trained", "half", "--dtype", "f16"]);
      // What says how conversations are written goes along.
      const copied = await Deno.readTextFile(join(folder, "half", "chat_template.jinja"));
      assert.equal(copied, template);
      const continued = (name: string, ...more: string[]) =>
        run(folder, [
          ...["generate", name, "The whale", "--length", "8"],
          ...["--temperature", "0", "--device", "cpu", ...more],
        ]);
      const first = await continued("trained");
      assert.match(first, /^The whale dives, /);
      assert.equal(await continued("half"), first);
      if (Model === LLaMA) await run(folder, ["convert", "half", "llama.bin", "--to", "llama2c"]);
      if (Model === LLaMA) {
        assert.equal(await continued("half", "--dtype", "q8_0", "--cache-dtype", "f16"), first);
        assert.equal(await continued("half", "--cache-dtype", "int8"), first);
      }
      if (Model !== LLaMA && Model !== GPT2) return; // llama.cpp has no others
      await run(folder, ["convert", "trained", "model.gguf", "--to", "gguf"]);
      assert.equal(await continued("model.gguf"), first);
    }));
}
