// `dinograd finetune` as a person would run it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { assign, BytePairTokenizer, CpuDevice, GPT2, RandomState, saveModel } from "../../mod.ts";
import { parseOptions } from "../../src/cli/finetune/options.ts";
import { assertSame } from "../support/compare.ts";
import { finish, inFolder } from "../support/examples.ts";

const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;

function start(cwd: string, args: string[], flags = ["-A"]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", ...flags, cli, ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

const run = (cwd: string, ...args: string[]) => finish(start(cwd, args));

/** A small model that knows nothing, in `base/`. */
async function writeModel(folder: string): Promise<void> {
  using device = CpuDevice.open({ threads: 1 });
  const tokenizer = BytePairTokenizer.train("one two three four five six seven. ".repeat(5), {
    merges: 20,
  });
  using model = new GPT2({
    ...{ vocabSize: tokenizer.vocabSize, maxPositionEmbeddings: 32, hiddenSize: 32 },
    ...{ numHiddenLayers: 1, numAttentionHeads: 2 },
  }, { device, random: new RandomState(1) });
  // As large as those of a trained model, so that there are scores for an adapter to move.
  const vectors = await model.wte.weight.data() as Float32Array;
  assign(model.wte.weight, vectors.map((value) => 10 * value));
  await saveModel(join(folder, "base"), model, { tokenizer });
}

const WORDS = ["one", "two", "three", "four", "five", "six"];
const lines = (of: (i: number) => unknown) =>
  Array.from({ length: 24 }, (_, i) => JSON.stringify(of(i % 5))).join("\n");

async function writeData(folder: string): Promise<void> {
  const answers = lines((i) => ({ prompt: WORDS[i], completion: ` ${WORDS[i + 1]}` }));
  await Deno.writeTextFile(join(folder, "answers.jsonl"), answers);
  const messages = lines((i) => ({
    messages: [
      { role: "user", content: WORDS[i] },
      { role: "assistant", content: WORDS[i + 1] },
    ],
  }));
  await Deno.writeTextFile(join(folder, "chats.jsonl"), messages);
  const pairs = lines((i) => ({ prompt: WORDS[i], chosen: " two", rejected: " six" }));
  for (const end of ["jsonl", "ndjson", "json"]) {
    await Deno.writeTextFile(join(folder, `pairs.${end}`), pairs);
  }
  await Deno.writeTextFile(join(folder, "book.txt"), "one two three. ".repeat(60));
}

const SHORT = ["--device", "cpu", "--lr", "0.02", "--sample-length", "4"];

Deno.test("finetune trains an adapter on answers; generate takes the run, and the adapter beside the model", () =>
  inFolder(async (folder) => {
    await writeModel(folder);
    await writeData(folder);
    const args = ["--lora", "4", "--epochs", "15", "--temperature", "0", "--prompt", "three"];
    const { code, text } = await run(
      ...[folder, "finetune", "base", "answers.jsonl", "--out", "run", ...args, ...SHORT] as const,
    );
    assert.equal(code, 0, text);
    assert.match(
      text,
      /answers.jsonl: 22 answers in 7 rows of 8 tokens \(4 % padding\) for training, 2 in 1 for validation/,
    );
    assert.match(
      text,
      /adapter of rank 4 in c_attn, c_proj, c_fc with [\d,]+ parameters; 35 steps of 3 rows, 9.4 examples on average/,
    );
    // An epoch is 3 steps, a tenth of all 4.
    const steps = [...text.matchAll(/^validation loss .* after (\d+) steps/gm)].map(([, n]) => +n!);
    assert.deepEqual(steps, [0, 4, 8, 12, 16, 20, 24, 28, 32, 35]);
    const losses = [...text.matchAll(/validation loss (\S+)/g)].map(([, loss]) => Number(loss));
    assert.ok(losses.at(-1)! < 0.5 * losses[0], `${losses}`);
    // Before and after.
    const samples = [...text.matchAll(/^\[three\](.*)/gm)].map(([, sample]) => sample);
    assert.ok(samples.length >= 3 && samples[0] !== samples.at(-1), `${samples}`);
    assert.match(samples.at(-1)!, /^ four/);
    for (const model of [["run"], ["run/adapter"], ["base", "--adapter", "run"]]) {
      const found = await run(
        ...[folder, "generate", ...model, "three", "--length", "4", "--temperature", "0"] as const,
        ...["--device", "cpu"],
      );
      assert.equal(found.code, 0, found.text);
      assert.match(found.out, /^three four/);
    }
    // Converted, the model has the adapter in its weights.
    const converted = await run(folder, "convert", "run", "whole");
    assert.equal(converted.code, 0, converted.text);
    const args2 = ["generate", "whole", "three", "--length", "4", "--temperature", "0"];
    assert.match((await run(folder, ...args2, "--device", "cpu")).out, /^three four/);
  }));

Deno.test("finetune of all weights, stopped by Ctrl-C and resumed, equals one that went straight on", () =>
  inFolder(async (folder) => {
    await writeModel(folder);
    const template = "{% for message in messages %}{{ message.content }}. {% endfor %}";
    await Deno.writeTextFile(join(folder, "base/chat_template.jinja"), template);
    await writeData(folder);
    const args = [
      "finetune",
      "base",
      "chats.jsonl",
      "--epochs",
      "4",
      "--batch",
      "4",
      "--save-every",
      "5",
      ...SHORT,
    ];
    await Deno.writeTextFile(join(folder, "base/tokenizer_config.json"), '{"eos_token":"four"}');
    const straight = await run(folder, ...args, "--out", "straight");
    assert.equal(straight.code, 0, straight.text);
    // What says how conversations are written goes along.
    const written = (name: string) => Deno.readTextFile(join(folder, "straight/model", name));
    assert.equal(await written("tokenizer_config.json"), '{"eos_token":"four"}');
    assert.equal(await written("chat_template.jinja"), template);
    const child = start(folder, [...args, "--out", "stopped"]);
    let isAsked = false;
    const stopped = await finish(child, (text) => {
      if (isAsked || !/step +7\//.test(text)) return;
      isAsked = true; // a second signal would end it at once
      child.kill("SIGINT");
    });
    assert.equal(stopped.code, 130, stopped.text);
    assert.match(stopped.text, /stopped after step \d+ of \d+; resume with --resume stopped/);
    const resumed = await run(folder, "finetune", "--resume", "stopped");
    assert.equal(resumed.code, 0, resumed.text);
    assert.match(resumed.text, /resuming after step/);
    const read = (name: string) => Deno.readFile(join(folder, name, "model/model.safetensors"));
    assertSame(await read("stopped"), await read("straight"), "weights");
    // As if it had been killed between its last checkpoint and the model.
    await Deno.remove(join(folder, "stopped", "model"), { recursive: true });
    await run(folder, "finetune", "--resume", "stopped");
    assertSame(await read("stopped"), await read("straight"), "weights written again");
    const other = await run(folder, "finetune", "--resume", "stopped", "--context", "16");
    assert.equal(other.code, 2, other.text);
    assert.match(
      other.text,
      /--context: expected that of the run that is resumed, none, but got 16/,
    );
  }));

Deno.test("finetune takes a text, and pairs with --dpo", () =>
  inFolder(async (folder) => {
    await writeModel(folder);
    await writeData(folder);
    const text = await run(
      ...[folder, "finetune", "base", "book.txt", "--out", "text", "--epochs", "1"] as const,
      ...["--context", "16", "--recompute", ...SHORT],
    );
    assert.equal(text.code, 0, text.text);
    assert.match(
      text.text,
      /book.txt: 1 text in \d+ rows of 16 tokens \(\d % padding\) for training/,
    );
    const dpo = await run(
      ...[folder, "finetune", "base", "pairs.jsonl", "--dpo", "--lora", "2"] as const,
      ...["--out", "dpo", "--epochs", "2", ...SHORT],
    );
    assert.equal(dpo.code, 0, dpo.text);
    const losses = [...dpo.text.matchAll(/validation loss (\S+)/g)].map(([, loss]) => Number(loss));
    assert.ok(losses[0] === 0.6931 && losses.at(-1)! < 0.66, `${losses}`);
  }));

Deno.test("finetune asks for no more than the model, the data and the run's folder", () =>
  inFolder(async (folder) => {
    await writeModel(folder);
    await writeData(folder);
    const args = ["finetune", "base", "answers.jsonl", "--lora", "2", "--epochs", "1", ...SHORT];
    const flags = ["--allow-read=base,answers.jsonl,runs", "--allow-write=runs"];
    const { code, text } = await finish(start(folder, args, flags));
    assert.equal(code, 0, text);
    assert.match(text, /wrote runs\/finetune-[^/]+\/adapter/);
  }));

Deno.test("finetune packs unless it is told not to, or goes on with a run that was", () => {
  const args = ["base", "answers.jsonl"];
  assert.equal(parseOptions(args).pack, true);
  const plain = parseOptions([...args, "--no-pack"]);
  assert.equal(plain.pack, false);
  assert.equal(parseOptions(["--resume", "run"], plain).pack, false);
});

Deno.test("finetune says what is wrong, with exit code 2", () =>
  inFolder(async (folder) => {
    await writeModel(folder);
    await writeData(folder);
    for (
      const [args, message] of [
        [["base"], /missing argument 'data'/],
        [
          ["base", "answers.jsonl", "--rslora"],
          /--rslora: expected --lora with the rank of an adapter but got none/,
        ],
        [
          ["base", "answers.jsonl", "--dpo"],
          /--dpo: expected "prompt", "chosen" and "rejected" in answers.jsonl but got answers/,
        ],
        [["base", "pairs.json"], /pairs.json: expected a text, or a .jsonl .* but got another/],
        [["base", "pairs.ndjson"], /pairs.ndjson: expected --dpo with pairs but got none/],
        [["base", "pairs.jsonl"], /pairs.jsonl: expected --dpo with pairs but got none/],
        [
          ["base", "answers.jsonl", "--context", "64"],
          /--context: expected at most the model's 32 tokens but got 64/,
        ],
      ] as const
    ) {
      const { code, text } = await run(folder, "finetune", ...args, "--device", "cpu");
      assert.equal(code, 2, text);
      assert.match(text, message);
    }
    assert.deepEqual([...Deno.readDirSync(folder)].filter(({ name }) => name === "runs"), []);
  }));
