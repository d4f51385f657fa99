// What `deno task fuzz` found, once each: files that made a reader crash, hang, take memory by a number, or say nothing of
// use. Its seeds and spoilers are in tools/fuzz/.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { ParquetTexts } from "../../src/data/parquet.ts";
import { checkDeltas, checkRuns, checkThrift } from "../../src/data/parquet_guard.ts";
import { openPage } from "../../src/data/parquet_page.ts";
import { readPieces } from "../../src/data/prepare/chunks.ts";
import { cutAtLine } from "../../src/data/prepare/cuts.ts";
import { readSentencePairs } from "../../src/data/translation_pairs.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { parseJson, shown } from "../../src/io/json_text.ts";
import { encodeNpy, readNpy } from "../../src/io/npy.ts";
import { SafetensorsFile } from "../../src/io/safetensors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { Transformer } from "../../src/models/transformer.ts";
import { downloadModel } from "../../src/pretrained/download_model.ts";
import { readWeightMap } from "../../src/pretrained/weight_files.ts";
import { EventFile } from "../../src/report/event_file.ts";
import { readPngHeader } from "../../src/report/pictures.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { loadLlama2cTokenizer } from "../../src/tokenizer/sentencepiece_bin.ts";
import { TextVocabulary } from "../../src/tokenizer/text_vocabulary.ts";
import { tokenizerFromJson } from "../../src/tokenizer/tokenizer_json.ts";
import { verdictOf } from "../../tools/fuzz/cases.ts";
import { AT_BYTE, type Format, holds } from "../../tools/fuzz/format.ts";
import { PYARROW_FILES, PYARROW_TEXTS } from "../../tools/fuzz/formats/parquet_files.ts";
import { parquetOf } from "../data/prepare_files.ts";
import { inFolder } from "../support/examples.ts";

/** Asserts a FileFormatError that names the file and matches. */
async function refuses(reading: Promise<unknown>, file: string, message: RegExp): Promise<void> {
  await assert.rejects(reading, (error: unknown) => {
    assert(error instanceof FileFormatError, String(error));
    assert(error.message.includes(file), error.message);
    assert.match(error.message, message);
    assert(error.message.length < 1000, `${error.message.length} characters`);
    return true;
  });
}

Deno.test("verdictOf() finds what is wrong with a reader, and nothing where it is right", async () => {
  const format: Format = { name: "f", place: AT_BYTE, prepare: () => assert.fail() };
  const file = "a.bin";
  const findingOf = async (read: () => void) =>
    (await verdictOf(format, { bytes: 1, file, read: () => Promise.try(read) })).finding;
  const refuse = (message: string, file: string, offset?: number) => () => {
    throw new FileFormatError(message, { file, offset });
  };
  assert.equal(await findingOf(() => {}), undefined);
  assert.equal(await findingOf(refuse("is cut short", file, 7)), undefined);
  assert.match(await findingOf(refuse("is cut short", file)) ?? "", /does not name the place/);
  assert.match(await findingOf(refuse("is cut short", "b", 7)) ?? "", /does not name the file/);
  assert.match(await findingOf(refuse("x".repeat(3000), file, 7)) ?? "", /3\d+ characters/);
  assert.match(await findingOf(() => JSON.parse("{")) ?? "", /threw SyntaxError/);
  assert.match(await findingOf(() => holds(false, "odd")) ?? "", /threw Inconsistent: odd/);
  const pollute = () => void ((Object.prototype as unknown as { polluted: number }).polluted = 1);
  assert.match(await findingOf(pollute) ?? "", /left "polluted" on a prototype/);
  assert.equal("polluted" in {}, false);
});

function nested(depth: number): unknown {
  return JSON.parse("[".repeat(depth) + "]".repeat(depth));
}

function safetensorsOf(header: string, data = new Uint8Array(0)): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

Deno.test("parseJson() says where when V8 does not", () => {
  for (
    const [text, position] of [
      ...[['{"a":.5}', 5], ["[1,]", 3], ["", 0], ["undefined", 0], ['{"a":tru', 8]] as const,
      ...[["[1 2]", 3], ['"ab', 3], ["\ufeff{}", 0], ['{"a"::1}', 5]] as const,
    ]
  ) {
    assert.throws(() => parseJson(text), new RegExp(` at position ${position}\\b`), text);
  }
  assert.deepEqual(parseJson(' {"a": [1]} '), { a: [1] });
});

Deno.test("shown() stays short when a value is nested deep or long", () => {
  const deep = nested(1_000_000);
  const started = performance.now();
  assert.equal(shown(deep), `${"[".repeat(60)}...`);
  assert(
    performance.now() - started < 100,
    "JSON.stringify takes half a second, and 12 s for ten times as deep",
  );
  const circle: Record<string, unknown> = {};
  circle.circle = circle;
  assert.equal(shown(circle, 20), '{"circle":{"circle":...');
  assert.equal(shown("x".repeat(100)), `"${"x".repeat(59)}...`);
  for (const value of [null, [], {}, [1, ["a"]], { a: [1, { b: null }], "c\n": true }]) {
    assert.equal(shown(value), JSON.stringify(value));
  }
  assert.equal(shown({ a: [1, { b: 2 }] }, 9), '{"a":[1,{...');
  assert.equal(shown(undefined), "nothing");
});

Deno.test("SafetensorsFile.open() says what is wrong when a shape is nested deep", async () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  const header = `{"a":{"dtype":"F32","shape":${deep},"data_offsets":[0,4]}}`;
  const bytes = safetensorsOf(header, new Uint8Array(4));
  await refuses(
    SafetensorsFile.open(bytes),
    "in memory",
    /tensor "a": expected a shape of integers/,
  );
  const long = `{"a":{"dtype":"F32","shape":[${"1,".repeat(5000)}2],"data_offsets":[0,4]}}`;
  const other = safetensorsOf(long, new Uint8Array(4));
  await refuses(
    SafetensorsFile.open(other),
    "in memory",
    /expected 8 bytes .* but got 4 \(at byte 8\)/,
  );
});

Deno.test("loadCheckpoint() throws a FileFormatError when its digest is right and its metadata wrong", () =>
  inFolder(async (folder) => {
    const tensors = [{ name: "a", dtype: "U8" as const, shape: [1], data: Uint8Array.of(7) }];
    const path = await saveCheckpoint(folder, 3, { state: { a: 1 }, tensors });
    const good = await Deno.readFile(path);
    const end = 8 + Number(new DataView(good.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(good.subarray(8, end)));
    const change = async (metadata: Record<string, string | undefined>) => {
      const zeros = "0".repeat(64);
      const text = JSON.stringify({
        ...header,
        __metadata__: { ...header.__metadata__, ...metadata, sha256: zeros },
      });
      const bytes = safetensorsOf(text, good.subarray(end));
      const digest = createHash("sha256").update(bytes).digest("hex");
      await Deno.writeFile(path, safetensorsOf(text.replace(zeros, digest), good.subarray(end)));
      return await loadCheckpoint(path);
    };
    assert.deepEqual((await change({})).state, { a: 1 });
    await refuses(change({ step: "x" }), path, /expected a step .* got "x" \(at byte 8\)/);
    await refuses(change({ step: "1e3" }), path, /expected a step/);
    await refuses(change({ step: undefined }), path, /expected a step .* got nothing/);
    await refuses(change({ state: undefined }), path, /expected a state .*\(at byte 8\)/);
    await refuses(change({ state: "{" }), path, /expected a state of JSON: .*position 1/);
    await refuses(
      change({ format: "x" }),
      path,
      /expected a checkpoint of dinograd .*\(at byte 8\)/,
    );
  }));

Deno.test("readNpy() stays short when a header has 10,000 axes", async () => {
  const plain = new TextDecoder("latin1").decode(encodeNpy(Uint8Array.of(1, 2)).subarray(10, 128));
  const text = plain.trim().replace("(2,)", `(${"1, ".repeat(10_000)}2)`);
  const bytes = new Uint8Array(10 + text.length + 2);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length & 255, text.length >> 8]);
  bytes.set(new TextEncoder().encode(text), 10);
  await refuses(
    readNpy(bytes),
    "in memory",
    /expected 64 axes or fewer but got 10001 \(at byte 10\)/,
  );
});

Deno.test("loadLlama2cTokenizer() names the byte when a token is another", async () => {
  const bytes = new Uint8Array(4 + 8 + 3);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, 3, true);
  view.setInt32(8, 3, true);
  bytes.set(new TextEncoder().encode("abc"), 12);
  await refuses(
    loadLlama2cTokenizer(bytes),
    "in memory",
    /to be <unk> but got "abc" \(at byte 4\)/,
  );
});

Deno.test("tokenizerFromJson() throws when a field is nested deep or a template makes many ids", () => {
  const fail = (json: unknown, message: RegExp) =>
    assert.throws(() => tokenizerFromJson(json, "t.json"), message);
  fail({ model: nested(100_000) }, /t\.json: .*expected .* but got/);
  fail(
    { pre_tokenizer: nested(100_000) },
    /t\.json: pre_tokenizer: expected an object but got (a list|\[{60}\.\.\.)/,
  );
  const vocab = Object.fromEntries(Array.from({ length: 256 }, (_, byte) => {
    return [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, byte];
  }));
  fail({
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    model: { type: "BPE", byte_fallback: true, vocab, merges: [] },
    post_processor: {
      type: "TemplateProcessing",
      special_tokens: { a: { ids: Array(1000).fill(1) } },
      single: Array(1000).fill({ SpecialToken: { id: "a" } }),
    },
  }, /single\[1\]: expected at most 1024 ids but got 1025/);
});

Deno.test("BytePairTokenizer.train() refuses special tokens that are too long to search for", () => {
  const load = (specialTokens: string[]) =>
    BytePairTokenizer.train("", { merges: 0, specialTokens });
  assert.equal(load(["[".repeat(1024)]).encode("[[").length, 2);
  const message = /specialTokens\[\d+\]: expected at most 1024 characters, and 262144 of all/;
  assert.throws(() => load(["<|endoftext|>", "[".repeat(200_000)]), message);
  assert.throws(() => load(Array.from({ length: 300 }, (_, i) => `${i}`.padEnd(1000))), message);
});

Deno.test("TextVocabulary.fromJSON() throws a FileFormatError when a field is nested deep", async () => {
  const json = { format: "dinograd-text-vocabulary", version: nested(100_000) };
  await refuses(
    Promise.try(() => TextVocabulary.fromJSON(json, "v.json")),
    "v.json",
    /version: expected 1 but got (a list|\[{60}\.\.\.)/,
  );
});

Deno.test("loadModel() makes nothing when the configuration speaks of more than there is", () =>
  inFolder(async (folder) => {
    using device = CpuDevice.open({ threads: 1 });
    const sizes = {
      vocabSize: 10,
      maxPositionEmbeddings: 8,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const { vocabSize: _, ...rest } = sizes;
    const models = [
      new GPT2(sizes, { device }),
      new Transformer({ ...rest, sourceVocabSize: 9, targetVocabSize: 9 }, { device }),
    ];
    const path = join(folder, "config.json");
    const weights = join(folder, "model.safetensors");
    const cases: [model: number, fields: object, file: string, message: RegExp][] = [
      [0, { n_layer: 1000 }, weights, /the tensors of 1000 layers/],
      [0, { n_inner: [8] }, path, /expected "n_inner" to be an integer above 0 but got \[8\]/],
      [1, { max_position_embeddings: 2 ** 45 }, path, /expected "max_position_embeddings"/],
    ];
    const kinds = ["gpt2", "transformer"] as const;
    const change = async (i: number, fields: object) => {
      await saveModel(folder, models[i]);
      const json = JSON.parse(await Deno.readTextFile(path));
      await Deno.writeTextFile(path, JSON.stringify({ ...json, ...fields }));
    };
    const before = device.memory().live;
    for (const [i, fields, file, message] of cases) {
      await change(i, fields);
      await refuses(loadModel(folder, { device, kinds }), file, message);
      assert.equal(device.memory().live, before);
    }
    const large = [{ vocab_size: 2 ** 40 }, { n_embd: 2 ** 20 }, { n_inner: 2 ** 40 }];
    for (const fields of large) {
      await change(0, fields);
      await assert.rejects(loadModel(folder, { device, kinds }), /do not fit the model/);
      assert.equal(device.memory().live, before);
    }
    for (const model of models) model.dispose();
  }));

Deno.test("readWeightMap() throws when a file's name can be none", async () => {
  for (const name of [`${"x".repeat(5000)}.safetensors`, "a\0.safetensors", "../a.safetensors"]) {
    await refuses(
      Promise.try(() => readWeightMap({ weight_map: { a: name } }, "index.json")),
      "index.json",
      /expected the file of "a" to be the name of a safetensors file/,
    );
  }
});

Deno.test("downloadModel() throws a FileFormatError when the hub lists a file of negative size", () =>
  inFolder(async (folder) => {
    const kept = join(folder, "a--b", "main.json");
    await Deno.mkdir(join(folder, "a--b"));
    const siblings = [{ rfilename: "config.json", size: -1 }];
    await Deno.writeTextFile(kept, JSON.stringify({ sha: "c".repeat(40), siblings }));
    // Nobody answers there, so that what the hub said before holds.
    const options = { endpoint: "http://127.0.0.1:9", cacheFolder: folder, retries: 0 };
    await refuses(downloadModel("a/b", options), kept, /config\.json: expected a size but got -1/);
  }));

const viewOf = (...bytes: number[]) => new DataView(Uint8Array.from(bytes).buffer);

Deno.test("checkThrift() throws at once when a length goes beyond the bytes", () => {
  checkThrift(viewOf(0x15, 0x02, 0x19, 0x25, 0x02, 0x04, 0x00));
  assert.throws(
    () => checkThrift(viewOf(0x19, 0xf1, 255, 255, 255, 255, 7, 0)),
    /expected a list .* got 2147483647/,
  );
  assert.throws(
    () => checkThrift(viewOf(0x18, 255, 255, 255, 255, 15)),
    /expected 4294967295 bytes/,
  );
  assert.throws(() => checkThrift(viewOf(...Array(500).fill(0x1c))), /levels of nesting/);
  assert.throws(
    () => checkThrift(viewOf(...Array(500).fill(0x19))),
    /levels of nesting|a list of at most/,
  );
  assert.throws(() => checkThrift(viewOf(0x16, ...Array(99).fill(0x80))), /at most 10 bytes/);
  assert.throws(() => checkThrift(viewOf(0x15)), /expected 1 bytes at byte 1 but got 0/);
});

Deno.test("checkRuns() throws when a run has more values than its page", () => {
  const check = (width: number, ...bytes: number[]) =>
    checkRuns(viewOf(...bytes), { at: 0, end: bytes.length, width, count: 100 });
  check(1, 200, 1, 1);
  check(1, 27, ...Array(13).fill(0));
  assert.throws(() => check(1, 254, 255, 255, 255, 15, 1), /a run of 2147483647/);
  assert.throws(() => check(0, 255, 255, 255, 255, 15), /a run of \d+/); // turned negative
  assert.throws(() => check(1, 128, 128, 128, 128, 128, 1), /the length of a run/);
  assert.throws(() => check(33, 2, 1), /but got 33 at byte 0/);
});

Deno.test("checkDeltas() throws when blocks go backwards", () => {
  checkDeltas(viewOf(0x80, 1, 4), 0);
  assert.throws(() => checkDeltas(viewOf(0xf8, 255, 255, 255, 15, 1), 0), /a block of differences/); // -8
  assert.throws(() => checkDeltas(viewOf(0, 1), 0), /equal parts but got 0/);
  assert.throws(() => checkDeltas(viewOf(8, 0), 0), /in 0 parts/);
});

Deno.test("ParquetTexts refuses pages and footers that claim what they have not", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.parquet");
    const read = async (bytes: Uint8Array) => {
      await Deno.writeFile(path, bytes);
      using texts = await ParquetTexts.open(path);
      const found: string[] = [];
      for await (const run of texts.runs()) found.push(...await texts.read(run));
      return found;
    };
    const documents = ["one", "two", "three", "two"];
    const good = parquetOf(documents, { codec: "UNCOMPRESSED" });
    assert.deepEqual(await read(good), documents);

    // The metadata as a list of 2^31 flags, which take no bytes in the library.
    const footer = Uint8Array.of(0x29, 0xf1, 255, 255, 255, 255, 7, 0);
    const bytes = new Uint8Array([
      ...good.subarray(0, 4),
      ...footer,
      8,
      0,
      0,
      0,
      ...good.slice(-4),
    ]);
    await refuses(read(bytes), path, /expected a list .* got 2147483647 .*\(at byte 4\)/);

    // A column whose metadata is the number 0: version, schema, rows, row groups.
    const name = (text: string) => [text.length, ...new TextEncoder().encode(text)];
    const numbers = Uint8Array.of(
      ...[0x15, 2, 0x19, 0x2c, 0x48, ...name("root"), 0x15, 2, 0],
      ...[0x15, 12, 0x25, 0, 0x18, ...name("text"), 0],
      ...[0x16, 2, 0x19, 0x1c, 0x19, 0x1c, 0x35, 0, 0, 0x16, 0, 0x16, 2, 0, 0],
    );
    const file = [...good.subarray(0, 4), ...numbers, numbers.length, 0, 0, 0, ...good.slice(-4)];
    await refuses(
      read(Uint8Array.from(file)),
      path,
      /row group 0: .* a column without one \(at byte 4/,
    );

    // Any one byte overwritten is read, or refused with its place.
    const [start, refused] = [performance.now(), { count: 0 }];
    for (let i = 4; i < good.length - 8; i += 2) {
      for (const byte of [0xff, 0x80, good[i] ^ 1]) {
        const damaged = good.slice();
        damaged[i] = byte;
        await read(damaged).catch((error: Error) => {
          assert(error instanceof FileFormatError, `byte ${i}: ${error.stack}`);
          assert.match(error.message, /\bbytes? -?\d+|row group \d+|column "/);
          refused.count++;
        });
      }
    }
    assert(refused.count > 50, `${refused.count} refused`);
    assert(performance.now() - start < 60_000);
  }));

Deno.test("ParquetTexts reads pyarrow's pages of version 1, whole or damaged", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.parquet");
    const read = async (bytes: Uint8Array) => {
      await Deno.writeFile(path, bytes);
      using texts = await ParquetTexts.open(path);
      const found: string[] = [];
      for await (const run of texts.runs()) found.push(...await texts.read(run));
      return found;
    };
    for (const { bytes, required, codec, encoding } of PYARROW_FILES) {
      const texts = PYARROW_TEXTS.map((text) => required ? text ?? "" : text);
      assert.deepEqual(await read(bytes), texts.filter((text) => text !== null));
      for (let i = 4; i < bytes.length - 8; i += 11) {
        const damaged = bytes.slice();
        damaged[i] ^= i % 3 ? 0x80 : 0xff;
        await read(damaged).catch((error: Error) => {
          assert(error instanceof FileFormatError, `${codec} ${encoding} ${i}: ${error.stack}`);
        });
      }
    }
  }));

Deno.test("openPage() throws when LZ4's blocks go backwards, or Snappy claims what it has not", () => {
  const compressors = { LZ4_RAW: () => new Uint8Array(1000), SNAPPY: () => new Uint8Array(1000) };
  const open = (codec: string, bytes: Uint8Array, length: number) =>
    openPage(
      {
        ...{ type: "DATA_PAGE", uncompressed_page_size: length, compressed_page_size: 16 },
        data_page_header: { num_values: 1, encoding: "PLAIN" } as never,
      },
      bytes,
      { codec, optional: false, tools: { compressors } as never },
    );
  const backwards = new Uint8Array(16);
  new DataView(backwards.buffer).setInt32(4, -8);
  assert.equal(open("LZ4", backwards, 1000).bytes.length, 1000); // as blocks without lengths
  const claim = Uint8Array.of(0x80, 0x80, 0x80, 0x64, 0, 1);
  assert.throws(() => open("SNAPPY", claim, 200 << 20), /from SNAPPY but got 6 that cannot/);
  assert.throws(
    () => open("SNAPPY", Uint8Array.of(4, 12, 1, 2, 3, 4), 100),
    /expected 100 bytes .* but got 6/,
  );
  assert.throws(() => open("toString", backwards, 100), /pages compressed by .* but got toString/);
});

Deno.test("readPieces() throws when zstd or gzip is cut short, foreign or wants a window of gigabytes", () =>
  inFolder(async (folder) => {
    const text = new TextEncoder().encode('{"text": "one"}\n'.repeat(50));
    const zstd = new Uint8Array(zstdCompressSync(text));
    const read = async (name: string, bytes: Uint8Array) => {
      const path = join(folder, name);
      await Deno.writeFile(path, bytes);
      let length = 0;
      for await (const piece of readPieces(path, { offset: 0, cut: cutAtLine })) {
        length += piece.bytes.length;
      }
      return length;
    };
    const skippable = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    const frames = new Uint8Array([...zstd, ...skippable, ...zstd]);
    assert.equal(await read("a.zst", frames), 2 * text.length);
    for (let cut = 1; cut < zstd.length; cut += 3) {
      await refuses(
        read("a.zst", zstd.slice(0, -cut)),
        "a.zst",
        /incomplete \.zst file.*at byte/,
      );
    }
    await refuses(read("a.zst", new Uint8Array([...zstd, 7])), "a.zst", /expected a whole frame/);
    await refuses(read("a.zst", text), "a.zst", /expected a frame but got/);
    // A window of 1.8 GiB, then an empty last block.
    const window = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0xa7, 1, 0, 0);
    await refuses(read("a.zst", window), "a.zst", /incomplete \.zst file/);
    const gzip = new Uint8Array(gzipSync(text));
    await refuses(read("a.gz", gzip.slice(0, -5)), "a.gz", /incomplete \.gz file.*at byte/);
  }));

Deno.test("readSentencePairs() refuses a zip archive that claims to hold gigabytes", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.zip");
    const name = new TextEncoder().encode("a.txt");
    const claimed = 0xfffffff0;
    const text = new TextEncoder().encode("Go.\tVa !");
    const local = new DataView(new ArrayBuffer(30 + name.length + text.length));
    const central = new DataView(new ArrayBuffer(46 + name.length));
    const end = new DataView(new ArrayBuffer(22));
    for (
      const [view, magic, at, nameAt] of [
        [local, 0x04034b50, 18, 30],
        [central, 0x02014b50, 20, 46],
      ] as const
    ) {
      view.setUint32(0, magic, true);
      view.setUint32(at, text.length, true);
      view.setUint32(at + 4, claimed, true);
      view.setUint16(at + 8, name.length, true);
      new Uint8Array(view.buffer).set(name, nameAt);
    }
    new Uint8Array(local.buffer).set(text, 30 + name.length);
    end.setUint32(0, 0x06054b50, true);
    end.setUint16(8, 1, true);
    end.setUint16(10, 1, true);
    end.setUint32(12, central.byteLength, true);
    end.setUint32(16, local.byteLength, true);
    const parts = [local, central, end].flatMap((view) => [...new Uint8Array(view.buffer)]);
    await Deno.writeFile(path, Uint8Array.from(parts));
    await refuses(
      readSentencePairs(path),
      path,
      /but got 4294967280 in 8 .*at byte 0/,
    );
    await Deno.writeFile(path, new Uint8Array(100));
    await refuses(readSentencePairs(path), path, /incomplete zip archive.*at byte 100/);
  }));

Deno.test("EventFile writes numbers beyond float32 as infinities, and refuses a picture of any size", () =>
  inFolder(async (folder) => {
    using events = await EventFile.open(folder);
    const { size } = await Deno.stat(events.path);
    events.scalar("loss", 1e39, 1);
    const bytes = await Deno.readFile(events.path);
    const record = bytes.subarray(size);
    const infinity = [0, 0, 0x80, 0x7f]; // the last of the message, before its CRC
    assert.deepEqual([...record.subarray(-8, -4)], infinity);
    const png = new Uint8Array(33);
    png.set([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52]);
    png.set([0xff, 0, 0, 0, 0, 0, 0, 1, 8, 0], 16);
    assert.throws(() => readPngHeader(png), /but got -16777216 x 1/);
    assert.throws(() => events.histogram("x".repeat(70_000), [], 1), (error: Error) => {
      return error instanceof RangeError && error.message.length < 200;
    });
  }));
