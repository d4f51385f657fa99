// The command line as a person meets it: a process with streams and an exit code.
import assert from "node:assert/strict";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { readNpy } from "../../src/io/npy.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { loadLlama2c } from "../../src/pretrained/llama2c.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { finish } from "../support/examples.ts";
import { writeLlama2cTokens } from "../../src/tokenizer/sentencepiece_bin.ts";
import { assertSame } from "../support/compare.ts";

const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;

/** Runs the command line; `input` is its standard input. */
async function run(cwd: string, args: string[], input = "", flags = ["-A"]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", ...flags, cli, ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("cli: help names every command, wrong usage ends with 2, failures with 1 and one line", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "a.npy"), "");
    const help = await run(folder, ["--help"], "", []);
    assert.equal(help.code, 0);
    const commands = [
      "train",
      "finetune",
      "generate",
      "tokenize",
      "prepare",
      "evaluate",
      "convert",
      "devices",
    ];
    for (const command of [...commands, "completions"]) {
      assert.match(help.out, new RegExp(`^  ${command} `, "m"));
    }
    for (
      const [args, code, message] of [
        [["speak"], 2, /^error: unknown command 'speak'/],
        [["devices", "--loud"], 2, /^error: unknown option '--loud'/],
        [["convert", "a", "b", "--to", "onnx"], 2, /Expected one of huggingface, gguf, llama2c/],
        [["train", "--layers", "0"], 2, /Expected an integer above 0/],
        [
          ["evaluate", "nowhere"],
          2,
          /^error: evaluate: expected --text, --hellaswag or both but got neither\n$/,
        ],
        [
          ["tokenize", "--decode", "60000"],
          2,
          /^error: tokenize: expected ids from 0 to 50256 but got "60000"\n$/,
        ],
        [
          ["tokenize", "--file", "nowhere.txt"],
          1,
          /^error: nowhere\.txt: expected a file but got nothing there\n$/,
        ],
        [["prepare", "nowhere.txt"], 1, /^error: nowhere\.txt: expected a file but got nothing/],
        [["serve", "model", "--port", "65536"], 2, /Expected an integer from 0 to 65535/],
        [["train", "--data", "a.npy"], 2, /error: --data: expected a text or a folder of token/],
        [
          ["generate", "nowhere", "Hello"],
          1,
          /^(dinograd runs .*\n)?error: nowhere: expected a model's folder .* but got nothing there\n$/,
        ],
      ] as const
    ) {
      const found = await run(folder, [...args]);
      assert.equal(found.code, code, `${args}: ${found.err}`);
      assert.match(found.err, message);
      assert.equal(found.out, "");
    }
  }));

Deno.test("cli: tokenize goes both ways, counts and writes shards, with no permission for a text", () =>
  inFolder(async (folder) => {
    assert.equal((await run(folder, ["tokenize", "Hello", "world"], "", [])).out, "15496 995\n");
    assert.equal(
      (await run(folder, ["tokenize", "--decode"], "[15496, 995]\n")).out,
      "Hello world",
    );
    const special = await run(folder, ["tokenize", "--special", "--json"], "<|endoftext|>Hello");
    assert.equal(special.out, "[50256,15496]\n");
    const counted = await run(folder, ["tokenize", "--count", "--json"], "Hello world");
    assert.deepEqual(JSON.parse(counted.out), { tokens: 2, bytes: 11, bytesPerToken: 5.5 });
    const written = await run(folder, ["tokenize", "Hello", "--out", "a.npy"]);
    assert.equal(written.code, 0, written.err);
    const { dtype, data } = await readNpy(join(folder, "a.npy"));
    assert.deepEqual([dtype, ...data], ["u2", 15496]);
  }));

Deno.test("cli: devices tells of both in JSON", () =>
  inFolder(async (folder) => {
    const { code, out, err } = await run(folder, ["devices", "--quick", "--json"]);
    assert.equal(code, 0, err);
    const [cpu, gpu] = JSON.parse(out);
    assert.equal(cpu.kind, "cpu");
    assert.equal(gpu.kind, "webgpu");
    assert.ok(gpu.maxBindingBytes >= 2 ** 27 && Array.isArray(gpu.features));
  }));

Deno.test("cli: prepare makes shards, and evaluate, generate and convert take a model", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "a.txt"), "The whale dives. ".repeat(20));
    const prepared = await run(folder, [
      ...["prepare", "a.txt", "--out", "shards", "--shard-tokens", "50", "--workers", "0"],
    ]);
    assert.equal(prepared.code, 0, prepared.err);
    assert.match(prepared.out, /^\d+ tokens of 1 document in \d shards in shards\n$/);
    assert.deepEqual(
      [...(await readNpy(join(folder, "shards/corpus_val_000000.npy"))).data].slice(0, 3),
      [
        ...[50256, 464, 22206],
      ],
    );

    using device = CpuDevice.open({ threads: 1 });
    const config = {
      vocabSize: 50304,
      maxPositionEmbeddings: 16,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const model = new GPT2(config, { device, random: new RandomState(1) });
    await saveModel(join(folder, "gpt2"), model);
    const on = ["--device", "cpu"];

    const evaluated = await run(folder, ["evaluate", "gpt2", "--text", "a.txt", "--json", ...on]);
    assert.equal(evaluated.code, 0, evaluated.err);
    const { text, parameters } = JSON.parse(evaluated.out);
    assert.equal(parameters, model.parameterCount());
    assert.ok(
      text.perplexity > 40_000 && text.perplexity < 60_000 && text.bytes > 300,
      evaluated.out,
    );

    const greedy = ["generate", "gpt2", "The whale", "--temperature", "0", "--length", "5", ...on];
    const [first, second] = [await run(folder, greedy), await run(folder, greedy)];
    assert.equal(first.code, 0, first.err);
    assert.ok(first.out.startsWith("The whale") && first.out.length > 10);
    assert.equal(second.out, first.out);

    const there = await run(folder, ["convert", "gpt2", "gpt2"]);
    assert.equal(there.code, 2);
    assert.match(there.err, /but got gpt2, which is there; name another, or give --force/);
    const refused = await run(folder, ["convert", "gpt2", "x.bin"]);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /--to llama2c: expected a LLaMA/);
    const converted = await run(folder, ["convert", "gpt2", "own"]);
    assert.equal(converted.code, 0, converted.err);
    assert.match(converted.err, /parameters of gpt2 written to own/);
    const continued = await run(folder, greedy.with(1, "own"));
    assert.equal(continued.out, first.out, continued.err);
    const counting = ["tokenize", "The whale", "--tokenizer"];
    const [theirs, ours] = [
      await run(folder, [...counting, "own"]),
      await run(folder, [...counting, "gpt2"]),
    ];
    assert.equal(theirs.out, ours.out, theirs.err);
    model.dispose();
  }));

Deno.test("cli: convert takes llama2.c's file to Hugging Face's layout and back, bit for bit", () =>
  inFolder(async (folder) => {
    using device = CpuDevice.open({ threads: 1 });
    const pieces = ["<unk>", "<s>", "</s>"];
    for (let byte = 0; byte < 256; byte++) {
      pieces.push(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    }
    pieces.push(" ");
    await writeLlama2cTokens(
      join(folder, "tokenizer.bin"),
      pieces.map((text) => ({ text, score: 0 })),
    );
    const config = {
      vocabSize: pieces.length,
      maxPositionEmbeddings: 8,
      hiddenSize: 8,
      numHiddenLayers: 2,
      numAttentionHeads: 2,
    };
    const model = new LLaMA({ ...config, numKeyValueHeads: 1, ropeLayout: "interleaved" }, {
      device,
      random: new RandomState(2),
    });
    await saveModel(join(folder, "first"), model);
    const { saveLlama2c } = await import("../../src/pretrained/llama2c.ts");
    await saveLlama2c(model, join(folder, "a.bin"));
    const there = await run(folder, ["convert", "a.bin", "hf"]);
    assert.equal(there.code, 0, there.err);
    const [a, b] = [
      await loadModel(join(folder, "hf"), { device, ropeLayout: "interleaved" }),
      await loadLlama2c(join(folder, "a.bin"), { device }),
    ];
    for (const [name, parameter] of model.parameters()) {
      const expected = await parameter.data();
      assertSame(await a.parameters().get(name)!.data(), expected, name);
      assertSame(await b.parameters().get(name)!.data(), expected, name);
    }
    [model, a, b].forEach((one) => one.dispose());
  }));

Deno.test("cli: completions know commands, options and the words that they take", () =>
  inFolder(async (folder) => {
    const { out, code } = await run(folder, ["completions", "bash"]);
    assert.equal(code, 0);
    const complete = async (...words: string[]) => {
      const quoted = words.map((word) => `'${word}'`).join(" ");
      const script = `${out}
        COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _dinograd; echo "\${COMPREPLY[*]}"`;
      const { stdout } = await new Deno.Command("bash", { args: ["-c", script], cwd: folder })
        .output();
      return new TextDecoder().decode(stdout).trim().split(" ");
    };
    assert.deepEqual(await complete("dinograd", "de"), ["devices"]);
    assert.deepEqual(await complete("dinograd", "convert", "--d"), ["--dtype"]);
    assert.deepEqual(await complete("dinograd", "convert", "a", "--to", ""), [
      ...["huggingface", "gguf", "llama2c"],
    ]);
    assert.deepEqual(await complete("dinograd", "train", "--on-n"), ["--on-nan"]);
    assert.deepEqual(await complete("dinograd", "train", "--on-nan", ""), ["stop", "skip"]);
    assert.deepEqual(await complete("dinograd", "completions", "z"), ["zsh"]);
    const { out: fish } = await run(folder, ["completions", "fish"]);
    assert.match(
      fish,
      /__fish_seen_subcommand_from convert' -l dtype .* -x -a 'f32 f16 bf16 q8_0 q4_0'/,
    );
  }));

Deno.test("cli: evaluate and prepare end at a signal with its exit code, and say what is done", () =>
  inFolder(async (folder) => {
    using device = CpuDevice.open({ threads: 1 });
    const config = {
      vocabSize: 50304,
      maxPositionEmbeddings: 16,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const model = new GPT2(config, { device, random: new RandomState(1) });
    await saveModel(join(folder, "gpt2"), model);
    model.dispose();
    await Deno.writeTextFile(join(folder, "a.txt"), "The whale dives. ".repeat(20_000));
    // Words that no cache knows.
    const words = Array.from({ length: 4_000_000 }, (_, i) => (i * 7919 % 2 ** 31).toString(36));
    await Deno.writeTextFile(join(folder, "long.txt"), words.join(" "));
    const started = (args: string[]) =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "-A", cli, ...args],
        cwd: folder,
        stdout: "piped",
        stderr: "piped",
      }).spawn();

    const evaluating = ["evaluate", "gpt2", "--text", "a.txt", "--stride", "1", "--device", "cpu"];
    const first = started(evaluating);
    let isSent = false;
    const evaluated = await finish(first, (text) => {
      if (isSent || !text.includes("dinograd runs on")) return;
      isSent = true;
      setTimeout(() => first.kill("SIGTERM"), 1000); // the model is loaded, and 20,000 windows are ahead
    });
    assert.equal(evaluated.code, 143, evaluated.text);
    assert.match(evaluated.text, /stopped; what is known so far/);

    const second = started(["prepare", "long.txt", "--out", "shards", "--workers", "1"]);
    const prepared = finish(second);
    while (!await Deno.stat(join(folder, "shards/.lock")).catch(() => false)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await new Promise((resolve) => setTimeout(resolve, 200)); // it listens from now on
    second.kill("SIGINT");
    const { code, text } = await prepared;
    assert.equal(code, 130, text);
    assert.match(text, /stopped; the same command goes on from there/);
  }));
