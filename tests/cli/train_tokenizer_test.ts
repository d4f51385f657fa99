// A run with a tokenizer of its own, which every other command takes as it is.
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeNpy } from "../../src/io/npy.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { finish, inFolder } from "../support/examples.ts";

const cli = new URL("../../src/cli/cli.ts", import.meta.url).pathname;
const end = "<|endoftext|>";
const text = Array.from(
  { length: 60 },
  (_, i) =>
    i < 55
      ? `The sea is ${i} fathoms deep here.\nThe whale dives, ${i} times.\n`
      : `Quartz quiz quartz\njinx quartz jinx quartz.\n`.repeat(2),
).join(end);
/** So small that a step takes milliseconds. */
const small = [
  ...["--layers", "1", "--embed", "16", "--heads", "2", "--context", "16", "--batch", "2"],
  ...["--total-batch", "64", "--val-tokens", "32", "--samples", "1", "--sample-length", "3"],
];

const dinograd = (cwd: string, ...args: string[]) =>
  finish(
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-prompt", "--quiet", cli, ...args],
      ...{ cwd, env: { NO_COLOR: "1" }, stdout: "piped", stderr: "piped" },
    }).spawn(),
  );

Deno.test("train --vocab-size: the run keeps its tokenizer, and other commands take it", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "book.txt"), text);
    const item = { ctx: "The whale", endings: ["dives", "reads", "of of", "is a hat"], label: 0 };
    await Deno.writeTextFile(join(folder, "items.jsonl"), JSON.stringify(item) + "\n");
    const on = ["--device", "cpu"];
    const trained = await dinograd(
      ...[folder, "train", "--data", "book.txt", "--vocab-size", "300", "--out", "run"] as const,
      ...["--steps", "2", "--hellaswag", "items.jsonl", "--recipe", "modern", ...small, ...on],
    );
    assert.equal(trained.code, 0, trained.text);
    assert.match(trained.text, /merge 43\/43: .* -> 298 /);
    assert.match(trained.text, /HellaSwag accuracy [01]\/1 /);
    assert.doesNotMatch(trained.text, /of the tokenizer's/);
    // The first line that begins in what is held out.
    const [, prompt] = /^\[(.*)\]/m.exec(trained.text)!;
    assert.match(
      prompt!,
      /^(The sea is \d\d|The whale dives, \d\d|Quartz quiz quartz|jinx quartz jinx quartz\.)$/,
    );
    assert.ok(text.indexOf(prompt!) > 0.8 * text.length);

    // The end of the text is not learned from.
    const learned = text.slice(0, Math.ceil(0.9 * text.length));
    const train = (text: string) =>
      BytePairTokenizer.train(text, { merges: 43, specialTokens: [end] });
    const expected = train(learned);
    assert.notDeepEqual(train(text).merges, expected.merges);
    const saved = await BytePairTokenizer.load(join(folder, "run/tokenizer.json"));
    assert.deepEqual([saved.merges, saved.vocabSize], [expected.merges, 300]);
    const ids = saved.encode(text, { allowedSpecial: "all" });
    const held = Math.floor(ids.length / 10);
    assert.match(trained.text, new RegExp(` last ${held} for validation`));

    await Deno.rename(join(folder, "book.txt"), join(folder, "book2.txt"));
    const moved = ["--data", "book2.txt", "--steps", "3"];
    const resumed = await dinograd(folder, "train", "--resume", "run", ...moved);
    assert.equal(resumed.code, 0, resumed.text);
    assert.match(resumed.text, /resuming after step 2 /);
    const refused = await dinograd(folder, "train", "--resume", "run", "--vocab-size", "400");
    assert.match(refused.text, /expected --vocab-size 300, as the run has it, but got .* 400/);

    const counted = await dinograd(folder, "tokenize", "--tokenizer", "run", prompt!);
    assert.equal(counted.text.trim(), saved.encode(prompt!).join(" "));
    const converted = await dinograd(folder, "convert", "run", "model");
    assert.equal(converted.code, 0, converted.text);
    const config = JSON.parse(await Deno.readTextFile(join(folder, "model/config.json")));
    assert.equal(config.vocab_size, 300); // 384 in training
    const greedy = ["--temperature", "0", "--length", "5", ...on];
    const texts: string[] = [];
    for (const name of ["run", "model"]) {
      const { code, text } = await dinograd(folder, "generate", name, "The whale", ...greedy);
      assert.equal(code, 0, text);
      texts.push(/^The whale.*(?=^5 tokens)/ms.exec(text)![0]);
    }
    assert.equal(texts[0], texts[1]);
    const tuned = await dinograd(
      ...[folder, "finetune", "run", "book2.txt", "--out", "tuned", "--epochs", "0.1"] as const,
      ...["--samples", "0", ...on],
    );
    assert.equal(tuned.code, 0, tuned.text);
    const again = await dinograd(folder, "tokenize", "--tokenizer", "tuned", prompt!);
    assert.equal(again.text, counted.text);

    const prepared = await dinograd(
      ...[folder, "prepare", "book2.txt", "--tokenizer", "run", "--out", "shards"] as const,
      ...["--shard-tokens", "500"],
    );
    assert.equal(prepared.code, 0, prepared.text);
    const onShards = await dinograd(
      ...[folder, "train", "--data", "shards", "--out", "second", "--steps", "1", ...small, ...on],
    );
    assert.equal(onShards.code, 0, onShards.text);
    const of = (name: string) => Deno.readTextFile(join(folder, name, "tokenizer.json"));
    assert.equal(await of("second"), await of("run"));
  }));

Deno.test("train --tokenizer: a text or shards by another's ids; refused by name what cannot be", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "book.txt"), text);
    const own = BytePairTokenizer.train(text, { merges: 60 });
    await own.save(join(folder, "own.json"));
    await Deno.mkdir(join(folder, "shards"));
    for (const name of ["a_val_000000", "a_train_000001"]) {
      const ids = Uint16Array.from(own.encodeOrdinary(text));
      await writeNpy(join(folder, `shards/${name}.npy`), ids);
    }
    const train = (...args: string[]) =>
      dinograd(folder, "train", "--device", "cpu", "--steps", "1", ...small, ...args);
    for (const data of ["book.txt", "shards"]) {
      const run = await train("--data", data, "--tokenizer", "own.json", "--out", `of-${data}`);
      assert.equal(run.code, 0, run.text);
      const { vocabSize } = await BytePairTokenizer.load(join(folder, `of-${data}/tokenizer.json`));
      assert.equal(vocabSize, 316);
    }
    const plain = await train("--data", "book.txt", "--out", "plain");
    assert.match(plain.text, /^it uses \d+ of the tokenizer's 50,257 ids; .* --vocab-size 1024$/m);
    assert.deepEqual(
      JSON.parse(await Deno.readTextFile(join(folder, "plain/tokenizer.json"))),
      JSON.parse(JSON.stringify(new GPT2Tokenizer())),
    );
    for (
      const [args, message] of [
        [["--data", "shards", "--vocab-size", "300"], /--vocab-size: expected a text in --data/],
        [["--tokenizer", "own.json", "--vocab-size", "300"], /expected no --tokenizer, as it/],
        [["--vocab-size", "256"], /--vocab-size: expected 257 or more/],
        [
          ["--data", "book.txt", "--tokenizer", "own.json", "--shuffle"],
          /--shuffle: expected a tokenizer with a token that ends a text/,
        ],
        [
          ["--data", "book.txt", "--tokenizer", "own.json", "--document-borders"],
          /--document-borders: expected a tokenizer with a token that ends a text/,
        ],
      ] as const
    ) {
      const { code, text } = await train(...args);
      assert.equal(code, 2, text);
      assert.match(text, message);
    }
    const { code, text: missing } = await train("--tokenizer", "./nowhere.json");
    assert.equal(code, 1, missing);
    assert.match(missing, /nowhere\.json: expected a file but got nothing there/);
  }));
