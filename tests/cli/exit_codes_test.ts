// How commands end, and that each option does what its help says.
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  bitsPerByte,
  BytePairTokenizer,
  CpuDevice,
  evaluateHellaSwag,
  GPT2,
  GPT2Tokenizer,
  LLaMA,
  loadHellaSwag,
  RandomState,
  SafetensorsFile,
  saveModel,
  textPerplexity,
} from "../../mod.ts";
import { inFolder } from "../support/examples.ts";

const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;
const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());

function start(cwd: string, args: readonly string[], deno: readonly string[] = []) {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "-A", ...deno, cli, ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function run(cwd: string, args: readonly string[], input = "") {
  const child = start(cwd, args);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out, err };
}

Deno.test("cli: ends with 0 and without a word when its reader has seen enough", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "a.txt"), "The whale dives. ".repeat(100_000));
    const child = start(folder, ["tokenize", "--file", "a.txt"]);
    await child.stdin.close();
    const reader = child.stdout.getReader();
    assert.match(new TextDecoder().decode((await reader.read()).value), /^464 22206 /);
    await reader.cancel();
    const [{ code }, err] = await Promise.all([
      child.status,
      new Response(child.stderr).text(),
    ]);
    assert.deepEqual([code, err], [0, ""]);
  }));

Deno.test("cli: one line says what failed, and with --debug also where", () =>
  inFolder(async (folder) => {
    const plain = await run(folder, ["tokenize", "--file", "nowhere.txt"]);
    assert.equal(plain.code, 1);
    assert.match(plain.err, /^error: [^\n]*nowhere\.txt[^\n]*\n$/);
    const debug = await run(folder, ["--debug", "tokenize", "--file", "nowhere.txt"]);
    assert.equal(debug.code, 1);
    assert.ok(debug.err.startsWith(plain.err), debug.err);
    assert.match(debug.err, /\n +at /);
  }));

Deno.test("cli: tokenize reads its input, refuses ids beyond the vocabulary, and counts nothing", () =>
  inFolder(async (folder) => {
    const both = await run(folder, ["tokenize", "a", "--file", "a.txt"]);
    assert.deepEqual([both.code, both.out], [2, ""]);
    for (const id of ["50257", "1.5"]) {
      const { code, out } = await run(folder, ["tokenize", "--decode"], id);
      assert.deepEqual([code, out], [2, ""], id);
    }
    assert.equal((await run(folder, ["tokenize", "--decode"], "50256")).out, "<|endoftext|>");
    assert.equal((await run(folder, ["tokenize", "--file", "-"], "Hello")).out, "15496\n");
    await Deno.writeFile(join(folder, "latin1.txt"), Uint8Array.of(0x61, 0xe9, 0x62));
    const latin = await run(folder, ["tokenize", "--file", "latin1.txt"]);
    assert.equal(latin.err, "error: latin1.txt: expected a text in UTF-8 but got other bytes\n");
    const none = await run(folder, ["tokenize", "--count"], "");
    assert.equal(none.out, "0 tokens, 0 bytes, 0.00 bytes per token\n");
    const some = await run(folder, ["tokenize", "--count", "Hello", "worlds", "ab"]);
    const bytes = 15, tokens = new GPT2Tokenizer().encode("Hello worlds ab").length;
    assert.equal(
      some.out,
      `${tokens} tokens, ${bytes} bytes, ${(bytes / tokens).toFixed(2)} bytes per token\n`,
    );
  }));

Deno.test("cli: prepare ends with 1 where a file fails, and with 2 where an option is wrong", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "a.jsonl"), '{"text": "whale"}\n{"body": "whale"}\n');
    const out = ["--out", "shards", "--workers", "0"];
    const failed = await run(folder, ["prepare", "a.jsonl", ...out]);
    assert.deepEqual([failed.code, failed.out], [1, ""], failed.err);
    assert.match(failed.err, /^error: .*a\.jsonl: line 2: /m);
    await Deno.writeTextFile(join(folder, "a.txt"), "");
    const empty = await run(folder, ["prepare", "a.txt", "--out", "none", "--workers", "0"]);
    assert.deepEqual([empty.code, empty.out], [1, ""], empty.err);
    assert.match(empty.err, /^error: prepare: expected texts but got none in a\.txt\n$/);
    await Deno.writeTextFile(join(folder, "b.txt"), "The whale.");
    const small = await run(folder, ["prepare", "b.txt", "--out", "one", "--workers", "0"]);
    assert.equal(small.code, 0, small.err);
    assert.match(small.err, /the first shard is for validation, and there is none for training/);
    for (const [name, value] of [["shard-tokens", "0"], ["workers", "-1"]]) {
      const { code, err } = await run(folder, ["prepare", "a.jsonl", `--${name}`, value]);
      assert.equal(code, 2, err);
      assert.match(err, new RegExp(`--${name}`));
    }
  }));

Deno.test("cli: evaluate scores with the window, the stride and the limit that it is given", () =>
  inFolder(async (folder) => {
    const config = {
      vocabSize: 50304,
      maxPositionEmbeddings: 16,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const model = new GPT2(config, { device, random: new RandomState(1) });
    await saveModel(join(folder, "gpt2"), model);
    const text = "The whale dives, and the sea is calm again. ".repeat(3);
    const item = (label: number) => ({ ctx: "The whale", endings: ["dives", "is a hat"], label });
    const lines = [0, 1, 0, 0, 1].map((label) => JSON.stringify(item(label))).join("\n");
    await Deno.writeTextFile(join(folder, "items.jsonl"), lines);

    const tokenizer = new GPT2Tokenizer();
    const options = { contextSize: 8, stride: 3 };
    const wanted = await textPerplexity(model, tokenizer, text, options);
    assert.notEqual(wanted.loss, (await textPerplexity(model, tokenizer, text)).loss);
    const items = await loadHellaSwag({ path: join(folder, "items.jsonl") });
    const scored = await evaluateHellaSwag(model, tokenizer, items, { limit: 3 });

    const window = ["--context", "8", "--stride", "3"];
    const args = ["evaluate", "gpt2", "--device", "cpu", "--text", "-", ...window];
    const found = await run(
      folder,
      [...args, "--hellaswag", "items.jsonl", "--limit", "3"],
      text,
    );
    assert.equal(found.code, 0, found.err);
    const shown = (value: number) => Number.isInteger(value) ? String(value) : value.toFixed(5);
    const expected = [
      "model: gpt2",
      `parameters: ${model.parameterCount() - 47 * 8}`, // the padding is not written
      ...Object.entries(wanted).map(([name, value]) => `text.${name}: ${shown(value)}`),
      ...Object.entries(scored).map(([name, value]) => `hellaswag.${name}: ${shown(value)}`),
    ];
    const names = found.out.trimEnd().split("\n").map((line) => line.split(":")[0]);
    assert.deepEqual(names, expected.map((line) => line.split(":")[0]));
    const valueOf = (name: string) =>
      Number(new RegExp(`^${name}: (.*)$`, "m").exec(found.out)![1]);
    assert.ok(Math.abs(valueOf("text.loss") - wanted.loss) < 2e-5);
    assert.equal(valueOf("text.tokens"), wanted.tokens);
    assert.match(found.out, /^text\.loss: \d+\.\d{5}$/m);
    const bits = bitsPerByte(wanted.loss, wanted.tokens, wanted.bytes);
    assert.ok(Math.abs(valueOf("text.bitsPerByte") - bits) < 2e-5);
    assert.equal(valueOf("hellaswag.items"), 3);
    assert.ok(Math.abs(valueOf("hellaswag.accNorm") - scored.accNorm) < 1e-5);
    model.dispose();
  }));

Deno.test("cli: convert keeps to its options", () =>
  inFolder(async (folder) => {
    const config = {
      vocabSize: 50304,
      maxPositionEmbeddings: 8,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const model = new GPT2(config, { device, random: new RandomState(1) });
    await saveModel(join(folder, "gpt2"), model);
    model.dispose();
    const wrong = await run(folder, [
      ...["convert", "gpt2", "new", "--to", "llama2c", "--dtype", "f16"],
    ]);
    assert.equal(wrong.code, 2, wrong.err);
    await assert.rejects(Deno.stat(join(folder, "new")), Deno.errors.NotFound);
    const gguf = await run(folder, ["convert", "gpt2", "gpt2.gguf"]);
    assert.equal(gguf.code, 0, gguf.err);
    assert.ok((await Deno.stat(join(folder, "gpt2.gguf"))).isFile);
    const half = await run(folder, ["convert", "gpt2", "gpt2-half", "--dtype", "bf16"]);
    assert.equal(half.code, 0, half.err);
    const there = await run(folder, ["convert", "gpt2", "gpt2-half", "--dtype", "f16", "--force"]);
    assert.equal(there.code, 0, there.err);
    using file = await SafetensorsFile.open(join(folder, "gpt2-half", "model.safetensors"));
    for (const { dtype } of file.tensors.values()) assert.equal(dtype, "F16");
    assert.deepEqual(file.info("transformer.wte.weight").shape, [50257, 8]);
    const json = JSON.parse(await Deno.readTextFile(join(folder, "gpt2-half", "config.json")));
    assert.deepEqual([json.vocab_size, json.torch_dtype], [50257, "float16"]);
  }));

Deno.test("cli: generate ends a text at its end token, and takes every --stop and any --top-k", () =>
  inFolder(async (folder) => {
    const special = ["<|endoftext|>"];
    const tokenizer = BytePairTokenizer.train("abc", { merges: 0, specialTokens: special });
    const sizes = {
      vocabSize: tokenizer.vocabSize,
      maxPositionEmbeddings: 32,
      hiddenSize: 8,
      numHiddenLayers: 1,
    };
    const model = new LLaMA({ ...sizes, numAttentionHeads: 2 }, {
      device,
      random: new RandomState(5),
    });
    await saveModel(join(folder, "llama"), model, { tokenizer });
    model.dispose();
    const all = ["generate", "llama", "x", "--device", "cpu", "--length", "600", "--seed", "1"];
    const flat = ["--temperature", "100000", "--top-k", "1000"];
    const free = await run(folder, [...all, ...flat]);
    assert.equal(free.code, 0, free.err);
    // Each of 257 ids is as likely, so that some of 600 would be the end.
    const count = Number(/^(\d+) tokens in /m.exec(free.err)![1]);
    assert.ok(count < 600, free.err);
    assert.ok(!free.out.includes("<|endoftext|>"));
    const printable = /[!-~]/.exec(free.out.slice(1))![0];
    const stopped = await run(folder, [...all, ...flat, "--stop", printable, "--stop", "\u0001"]);
    const text = free.out.slice(1);
    const end = Math.min(
      ...[printable, "\u0001"].map((stop) => text.indexOf(stop)).filter((at) => at >= 0),
    );
    assert.equal(stopped.out, `x${text.slice(0, end)}\n`);
    const usage = await run(folder, [
      ...["generate", "llama", "x", "--beam", "2", "--samples", "3", "--device", "cpu"],
    ]);
    assert.equal(usage.code, 2);
    assert.match(usage.err, /--beam 2 .* --samples 3/);
  }));
