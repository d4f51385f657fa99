import assert from "node:assert/strict";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { readChunks } from "../../src/data/prepare/chunks.ts";
import { CorpusTokenizer } from "../../src/data/prepare/corpus_tokenizer.ts";
import { cutBeforeWord } from "../../src/data/prepare/cuts.ts";
import { prepareCorpus, type PrepareOptions } from "../../src/data/prepare/prepare.ts";
import { WorkTokenizer } from "../../src/data/prepare/work.ts";
import { findShards } from "../../src/data/shards.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { readNpy } from "../../src/io/npy.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { assertSame } from "../support/compare.ts";
import { inFolder } from "../support/examples.ts";
import { madeUpDocuments, parquetOf, straight } from "./prepare_files.ts";

/** Small pieces, so that a few kilobytes take many. */
const small = { prefix: "made_up", tokensPerShard: 5000, chunkBytes: 3000, saveEvery: 0 };

const bytesOf = (text: string) => new TextEncoder().encode(text);
const jsonl = (documents: readonly string[]) =>
  documents.map((text, id) => JSON.stringify({ id, text }) + "\n").join("");

/** All tokens of a folder's shards, whose names, types and lengths are checked. */
async function tokensOf(folder: string, tokensPerShard = small.tokensPerShard): Promise<number[]> {
  const train = await findShards(folder, { split: "train" }).catch(() => []);
  const paths = [...await findShards(folder, { split: "val" }), ...train];
  const tokens: number[] = [];
  for (const [i, path] of paths.entries()) {
    const split = i === 0 ? "val" : "train";
    const name = `made_up_${split}_${String(i).padStart(6, "0")}.npy`;
    assert.equal(path, join(folder, name));
    const { dtype, shape, data } = await readNpy(path);
    assert.equal(dtype, "u2");
    if (i < paths.length - 1) assert.deepEqual(shape, [tokensPerShard]);
    for (const id of data as Uint16Array) tokens.push(id);
  }
  return tokens;
}

/** Writes a corpus of every kind of file; returns the paths and the documents. */
async function writeCorpus(folder: string): Promise<{ paths: string[]; documents: string[] }> {
  const parts = [1, 2, 3, 4, 5].map((seed) => madeUpDocuments(150, seed));
  const [a, b] = [parts[3].slice(0, 70), parts[3].slice(70)].map(jsonl).map(bytesOf);
  const files: [string, Uint8Array][] = [
    ["a.parquet", parquetOf(parts[0])],
    ["b.parquet", parquetOf(parts[1], { codec: "ZSTD", rowGroupSize: 40 })],
    ["c.jsonl", bytesOf("\uFEFF" + jsonl(parts[2]).replaceAll("\n", "\r\n\n"))],
    // Two compressed parts one after the other, as `cat` makes them.
    ["d.jsonl.gz", new Uint8Array([...gzipSync(a), ...gzipSync(b)])],
    ["e.jsonl.zst", new Uint8Array([...zstdCompressSync(a), ...zstdCompressSync(b)])],
  ];
  const paths = [];
  for (const [name, bytes] of files) {
    paths.push(join(folder, name));
    await Deno.writeFile(paths.at(-1)!, bytes);
  }
  return { paths, documents: [parts[0], parts[1], parts[2], parts[3], parts[3]].flat() };
}

for (const workers of [0, 3]) {
  Deno.test(`prepareCorpus() with ${workers} workers gives what one thread gives when files are of any kind`, async () => {
    await inFolder(async (folder) => {
      const { paths, documents } = await writeCorpus(folder);
      const out = join(folder, "out");
      const progress: number[] = [];
      const result = await prepareCorpus(paths, out, {
        ...small,
        workers,
        onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes),
      });
      const expected = straight(documents);
      assertSame(await tokensOf(out), expected);
      assert.equal(result.tokens, expected.length);
      assert.equal(result.documents, documents.length);
      assert.equal(result.complete, true);
      assert.equal(result.paths.length, Math.ceil(expected.length / small.tokensPerShard));
      assert(progress.length > 50, `${progress.length} pieces`);
      assert(progress.every((share, i) => share >= (progress[i - 1] ?? 0)));
      assert.equal(progress.at(-1), 1);
      const left = [...Deno.readDirSync(out)].filter(({ name }) => !name.endsWith(".npy"));
      assert.deepEqual(left.map(({ name }) => name), ["prepare.json"]);
      // Once more: nothing is left to be done.
      assert.deepEqual(await prepareCorpus(paths, out, { ...small, workers }), result);
    });
  });
}

Deno.test("prepareCorpus() cuts plain text at <|endoftext|> and long documents without a trace", async () => {
  const long = madeUpDocuments(300, 9).join("\n\n").replaceAll("<|endoftext|>", "");
  const chinese = "海上的鯨魚。\n".repeat(2000);
  const parts = ["\n First.", long, "\n\n", chinese, "Last one\n"];
  await inFolder(async (folder) => {
    const names = ["a.txt", "b.txt.gz", "c.txt"];
    const joined = bytesOf(parts.join("<|endoftext|>"));
    const contents = [joined, gzipSync(joined), bytesOf(long)];
    for (const [i, name] of names.entries()) {
      await Deno.writeFile(join(folder, name), contents[i]);
    }
    const documents = parts.filter((text) => text.trim() !== "");
    const out = join(folder, "out");
    const result = await prepareCorpus(names.map((name) => join(folder, name)), out, {
      ...small,
      workers: 2,
    });
    assertSame(await tokensOf(out), straight([...documents, ...documents, long]));
    assert.equal(result.documents, 9);
  });
});

Deno.test("prepareCorpus() goes on where it ended when it was told to stop or has shards enough", async () => {
  await inFolder(async (folder) => {
    const { paths, documents } = await writeCorpus(folder);
    const expected = straight(documents);
    const out = join(folder, "out");
    const options: PrepareOptions = { ...small, workers: 2 };
    const two = await prepareCorpus(paths, out, { ...options, shards: 2 });
    assert.deepEqual([two.complete, two.paths.length], [false, 2]);
    assertSame(await tokensOf(out), expected.slice(0, 10_000));
    assert.deepEqual(await prepareCorpus(paths, out, { ...options, shards: 2 }), two);
    for (let calls = 0;; calls++) {
      const stop = new AbortController();
      let pieces = 0;
      const { complete } = await prepareCorpus(paths, out, {
        ...options,
        saveEvery: 1000,
        signal: stop.signal,
        onProgress: () => ++pieces > 12 && stop.abort(),
      });
      if (complete) {
        assert(calls > 3, `${calls} calls`);
        break;
      }
    }
    assertSame(await tokensOf(out), expected);
  });
});

Deno.test("prepareCorpus() loses and doubles nothing when it is killed at any moment", async () => {
  const script = `
    import { prepareCorpus } from ${
    JSON.stringify(new URL("../../src/data/prepare/prepare.ts", import.meta.url).href)
  };
    const [out, ...paths] = Deno.args;
    const { complete } = await prepareCorpus(paths, out, {
      ...${JSON.stringify({ ...small, tokensPerShard: 700, chunkBytes: 500 })}, workers: 0,
      onProgress: () => Deno.stdout.writeSync(Uint8Array.of(46)),
    });
    console.log(complete ? "complete" : "not complete");`;
  await inFolder(async (folder) => {
    const { paths, documents } = await writeCorpus(folder);
    const out = join(folder, "out");
    const main = join(folder, "main.ts");
    await Deno.writeTextFile(main, script);
    let kills = 0;
    const places = new Set<string>();
    for (let run = 0, complete = false; !complete; run++) {
      assert(run < 60);
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--quiet", main, out, ...paths],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      let text = "";
      let timer: ReturnType<typeof setTimeout> | undefined;
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
        text += part;
        // After some pieces, each time others and at another moment; in the end it may finish.
        if (run > 8 || text.length <= run * 5 % 7) continue;
        timer ??= setTimeout(() => {
          kills++;
          child.kill("SIGKILL");
        }, run % 4);
      }
      clearTimeout(timer);
      await child.status;
      complete = /^\.*complete\n$/.test(text);
      const { file, place } = JSON.parse(
        await Deno.readTextFile(join(out, "prepare.json")).catch(() => "{}"),
      );
      places.add(JSON.stringify([file, place]));
    }
    assert(kills > 3 && places.size > 3, `${kills} kills at ${places.size} places`);
    assertSame(await tokensOf(out, 700), straight(documents));
  });
});

Deno.test("prepareCorpus() keeps a whole state when a file turns out to be damaged", async () => {
  await inFolder(async (folder) => {
    const documents = madeUpDocuments(200);
    const lines = jsonl(documents).trimEnd().split("\n");
    const path = join(folder, "a.jsonl");
    const out = join(folder, "out");
    // Spoilt without a change of length: the same file to the manifest.
    const spoilt = lines.with(150, lines[150].replace("{", "["));
    await Deno.writeTextFile(path, spoilt.join("\n"));
    for (const workers of [0, 2]) {
      const begun = prepareCorpus([path], out, { ...small, workers });
      await assert.rejects(begun, (error: Error) => {
        assert(error instanceof FileFormatError, String(error));
        assert(error.message.startsWith(`${path}: line 151: expected JSON: `), error.message);
        return true;
      });
    }
    await Deno.writeTextFile(path, lines.join("\n"));
    await prepareCorpus([path], out, { ...small, workers: 1 });
    assertSame(await tokensOf(out), straight(documents));
  });
});

Deno.test("prepareCorpus() throws when files or folder are not as they should be", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "a.jsonl");
    await Deno.writeTextFile(path, '{"text": "one"}\n{"id": 2}\n');
    const out = join(folder, "out");
    const options = { ...small, workers: 0 };
    const rejects = (files: string[], message: RegExp, change: PrepareOptions = {}) =>
      assert.rejects(prepareCorpus(files, out, { ...options, ...change }), message);
    await rejects([], /^RangeError: prepareCorpus: expected one file or more but got none$/);
    await rejects([path], /expected tokensPerShard of 1 or more but got 0$/, { tokensPerShard: 0 });
    await rejects([path], /expected workers of 0 or more but got -1$/, { workers: -1 });
    await rejects([path], /expected a prefix of letters, digits, - and _ but got "..\/x"$/, {
      prefix: "../x",
    });
    const other = join(folder, "a.csv");
    await Deno.writeTextFile(other, "");
    await rejects(
      [other],
      /^TypeError: prepareCorpus: expected files named \.parquet, \.jsonl or \.txt, .* but got a\.csv/,
    );
    await rejects([path], /a\.jsonl: line 2: expected a text in "text" but got only id$/);
    await rejects(
      [path],
      /the tokensPerShard that it was begun with, 5000, but got 7; take another folder$/,
      {
        tokensPerShard: 7,
      },
    );
    await Deno.writeTextFile(path, '{"text": "one"}\n{"text": 2}\n');
    await rejects([path], /the files that it was begun with, .*take another folder$/);
    await Deno.writeTextFile(join(out, "prepare.json"), "{");
    await rejects([path], /prepare\.json: expected JSON: /);
    await Deno.remove(join(out, "prepare.json"));
    await Deno.writeTextFile(join(out, "made_up_train_000001.npy"), "");
    await rejects([path], /expected no shards of another run but got .*; take another folder$/);
    const broken = join(folder, "b.jsonl.gz");
    await Deno.writeFile(broken, gzipSync(bytesOf(jsonl(madeUpDocuments(900)))).subarray(0, 9000));
    const third = prepareCorpus([broken], join(folder, "third"), options);
    await assert.rejects(third, /b\.jsonl\.gz: incomplete \.gz file: /);
  });
});

Deno.test("prepareCorpus() reads a text that was cut anywhere as one", () => {
  // What cutAtWord relies on: before a blank or line end, GPT-2's words always end.
  const tokenizer = new GPT2Tokenizer();
  for (const text of madeUpDocuments(60, 4)) {
    const whole = [...tokenizer.encodeOrdinary(text)];
    for (const match of text.matchAll(/(?<![\s\p{White_Space}])[ \n]/gu)) {
      if (match.index === 0) continue;
      const parts = [text.slice(0, match.index), text.slice(match.index)];
      assert.deepEqual(parts.flatMap((part) => [...tokenizer.encodeOrdinary(part)]), whole);
    }
  }
});

Deno.test("cutBeforeWord() cuts a text where its tokens are those of the parts, by other patterns than GPT-2's", () => {
  const texts = [
    ...madeUpDocuments(20, 6),
    "Aye!\n\nNay, 12 men.\n/etc\n 鯨は大きい。\n鯨 e\u0301te\u0301\n",
  ];
  for (const pattern of ["gpt4", "qwen2", "tekken", "gpt4o"] as const) {
    const tokenizer = BytePairTokenizer.train(texts, { merges: 200, pattern });
    let cuts = 0;
    for (const text of texts) {
      const whole = [...tokenizer.encodeOrdinary(text)];
      const bytes = bytesOf(text);
      for (let end = cutBeforeWord(bytes); end > 0; end = cutBeforeWord(bytes.subarray(0, end))) {
        const parts = [bytes.subarray(0, end), bytes.subarray(end)];
        const found = parts.flatMap((part) => [
          ...tokenizer.encodeOrdinary(new TextDecoder("utf-8", { ignoreBOM: true }).decode(part)),
        ]);
        assert.deepEqual(
          found,
          whole,
          `${pattern}: ${JSON.stringify(text.slice(0, 80))} at ${end}`,
        );
        cuts++;
      }
    }
    assert.ok(cuts > 100);
  }
});

Deno.test("readChunks() leaves a document its separator and white space when it is cut at its first word", async () => {
  const beginning = "One two<|endoftext|>\r\n\nOnce";
  const tokenizer = BytePairTokenizer.train(beginning, {
    ...{ merges: 5, specialTokens: ["<|endoftext|>"], pattern: "gpt4" },
  });
  const corpus = new CorpusTokenizer(tokenizer);
  using worker = new WorkTokenizer(corpus);
  await inFolder(async (folder) => {
    const path = join(folder, "a.txt");
    await Deno.writeTextFile(path, `${beginning} upon a time`);
    const read = async (bytes: number) => {
      const options = { field: "", place: {}, bytes, cut: corpus.cut };
      const chunks = await Array.fromAsync(readChunks(path, options));
      const done = await Promise.all(chunks.map(({ work }) => worker.tokenize(work)));
      return done.flatMap(({ tokens }) => [...tokens]);
    };
    assert.deepEqual(await read(bytesOf(beginning).length), await read(1000));
  });
});

/** A tokenizer with so many ids that they need four bytes. */
function enlarged(tokenizer: BytePairTokenizer): BytePairTokenizer {
  const json = tokenizer.toJSON() as { model: { vocab: Record<string, number> } };
  for (let id = tokenizer.vocabSize; id <= 2 ** 16; id++) json.model.vocab[`zz${id}`] = id;
  return BytePairTokenizer.fromJSON(json);
}

Deno.test("prepareCorpus() takes another tokenizer, and keeps it beside the shards", () =>
  inFolder(async (folder) => {
    const documents = madeUpDocuments(60, 7);
    const end = "<|endoftext|>";
    const [lines, plain] = [join(folder, "a.jsonl"), join(folder, "b.txt")];
    await Deno.writeTextFile(lines, jsonl(documents));
    await Deno.writeTextFile(plain, documents.join(end));
    const own = BytePairTokenizer.train(documents, { merges: 50, specialTokens: [end] });
    for (const workers of [0, 2]) {
      const tokenizer = workers === 0 ? enlarged(own) : own;
      const out = join(folder, `shards${workers}`);
      const options = { tokenizer, workers, chunkBytes: 3000, prefix: "made_up" };
      const { tokens } = await prepareCorpus([lines, plain], out, options);
      const separator = tokenizer.specialTokens.get(end)!;
      const texts = documents.join(end).split(end).filter((text) => text.trim() !== "");
      const expected = [...documents, ...texts]
        .flatMap((text) => [separator, ...tokenizer.encodeOrdinary(text)]);
      const { dtype, data } = await readNpy(join(out, "made_up_val_000000.npy"));
      assert.equal(dtype, workers === 0 ? "u4" : "u2");
      assertSame([...data as Uint16Array], expected);
      assert.equal(tokens, expected.length);
      const saved = await BytePairTokenizer.load(join(out, "tokenizer.json"));
      assertSame(saved.encodeOrdinary(documents[0]!), tokenizer.encodeOrdinary(documents[0]!));
      await assert.rejects(
        prepareCorpus([lines, plain], out, { ...options, tokenizer: undefined }),
        /expected the tokenizer that it was begun with, "[0-9a-f]{64}", but got "gpt2"; take another/,
      );
    }
    const bare = BytePairTokenizer.train("a b", { merges: 1 });
    await assert.rejects(
      prepareCorpus([lines], join(folder, "bare"), { tokenizer: bare }),
      /RangeError: prepareCorpus: expected a documentSeparator, .* but got neither/,
    );
  }));

Deno.test("prepareCorpus() gives long documents the tokens of the whole", async () => {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    // Words, runs of blanks, line ends, contractions and other scripts, 2.6 million characters; and no blank at all.
    const parts = ["a whale ", "don't  swim\n\n", "Ωμέγα été ", "12,5 % \t", "鯨は大きい。", "so "];
    let mixed = "";
    for (let i = 0; mixed.length < 2.6e6; i++) mixed += parts[(i * i + i) % parts.length];
    const documents = [mixed, "x".repeat(2 ** 21 + 5) + " end"];
    const file = join(folder, "long.jsonl");
    await Deno.writeTextFile(file, documents.map((text) => JSON.stringify({ text })).join("\n"));
    await prepareCorpus([file], folder, { workers: 0, tokensPerShard: 1e7 });
    const tokenizer = new GPT2Tokenizer();
    const expected = documents.flatMap((text) => [50256, ...tokenizer.encodeOrdinary(text)]);
    const { data } = await readNpy(join(folder, "corpus_val_000000.npy"));
    assert.equal(data.length, expected.length);
    assert.ok(expected.every((id, i) => data[i] === id));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
