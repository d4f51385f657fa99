// Views into larger buffers, empty tensors, names at the edges: what writers write and readers take.
import assert from "node:assert/strict";
import { join } from "node:path";
import { findShards, openShard } from "../../src/data/shards.ts";
import { ShardWriter } from "../../src/data/shard_writer.ts";
import { cutAtWord } from "../../src/data/prepare/cuts.ts";
import { listCheckpoints, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { readLlmcTokens, writeLlmcTokens } from "../../src/io/llmc_bin.ts";
import { encodeNpy, readNpy, writeNpy } from "../../src/io/npy.ts";
import {
  bfloat16ToFloat32,
  encodeSafetensors,
  float32ToBfloat16,
  SafetensorsFile,
  writeSafetensors,
} from "../../src/io/safetensors.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { inFolder } from "../support/examples.ts";

Deno.test("writers take a view for what it shows, not for its buffer", () =>
  inFolder(async (folder) => {
    const floats = Float32Array.from({ length: 9 }, (_, i) => i + 0.5).subarray(2, 6);
    const tokens = Uint16Array.from({ length: 9 }, (_, i) => i * 7).subarray(3, 8);
    const path = join(folder, "a");
    await writeNpy(path, floats, [2, 2]);
    for (const from of [path, encodeNpy(floats, [2, 2])]) {
      assert.deepEqual(await readNpy(from), { dtype: "f4", shape: [2, 2], data: floats.slice() });
    }
    await writeLlmcTokens(path, tokens);
    assert.deepEqual(await readLlmcTokens(path), tokens.slice());
    const entries = [
      { name: "x", dtype: "F32" as const, shape: [4], data: floats },
      { name: "y", dtype: "U16" as const, shape: [5], data: tokens },
    ];
    await writeSafetensors(path, entries);
    for (const from of [path, await encodeSafetensors(entries)]) {
      using file = await SafetensorsFile.open(from);
      assert.deepEqual(await file.read("x"), floats.slice());
      assert.deepEqual(await file.read("y"), tokens.slice());
    }
    assert.deepEqual(bfloat16ToFloat32(float32ToBfloat16(floats)), floats.slice());
  }));

Deno.test("float32ToBfloat16() rounds ties to even, and keeps NaN and infinity apart", () => {
  const bits = (...values: number[]) => new Float32Array(Uint32Array.from(values).buffer);
  const round = (...values: number[]) => [...float32ToBfloat16(bits(...values))];
  assert.deepEqual(
    round(0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0xbf818000),
    [0x3f80, 0x3f82, 0x3f81, 0x3f80, 0xbf82],
  );
  assert.deepEqual(round(0x7f800000, 0xff800000, 0x7f7fffff), [0x7f80, 0xff80, 0x7f80]);
  for (const narrow of round(0x7f800001, 0xff80ffff, 0x7fc00000)) {
    assert.ok(Number.isNaN(bfloat16ToFloat32(Uint16Array.of(narrow))[0]), narrow.toString(16));
  }
});

Deno.test("SafetensorsFile reads empty tensors wherever the header lists them", async () => {
  const infos = {
    full: { dtype: "F32", shape: [1], data_offsets: [0, 4] },
    before: { dtype: "F32", shape: [0], data_offsets: [0, 0] },
    after: { dtype: "F32", shape: [2, 0], data_offsets: [4, 4] },
  };
  for (const names of [["full", "before", "after"], ["after", "before", "full"]] as const) {
    const json = JSON.stringify(Object.fromEntries(names.map((name) => [name, infos[name]])));
    const header = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / 8) * 8));
    const bytes = new Uint8Array(8 + header.length + 4);
    bytes[0] = header.length & 255;
    bytes[1] = header.length >> 8;
    bytes.set(header, 8);
    bytes.set(new Uint8Array(Float32Array.of(2.5).buffer), 8 + header.length);
    using file = await SafetensorsFile.open(bytes);
    assert.deepEqual(await file.read("full"), Float32Array.of(2.5));
    assert.equal((await file.read("before")).length, 0);
    assert.deepEqual(file.info("after").shape, [2, 0]);
  }
});

Deno.test("encodeNpy() writes shapes as Python's tuples", async () => {
  const shapeIn = (bytes: Uint8Array) =>
    /'shape': (\(.*?\))/.exec(new TextDecoder("latin1").decode(bytes))![1];
  assert.equal(shapeIn(encodeNpy(Uint16Array.of(1, 2, 3))), "(3,)");
  assert.equal(shapeIn(encodeNpy(Uint16Array.of(1), [])), "()");
  assert.equal(shapeIn(encodeNpy(new Uint16Array(6), [2, 3])), "(2, 3)");
  const bytes = encodeNpy(Uint8Array.of(1, 2));
  bytes[bytes.indexOf("|".charCodeAt(0))] = ">".charCodeAt(0);
  const read = await readNpy(bytes);
  assert.deepEqual(read.data, Uint8Array.of(1, 2), "a byte has no order");
});

Deno.test("llm.c shards with more or less than they claim are refused", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.bin");
    await writeLlmcTokens(path, Uint16Array.of(1, 2, 3));
    const bytes = await Deno.readFile(path);
    for (const wrong of [new Uint8Array([...bytes, 0, 0]), bytes.slice(0, -2)]) {
      await Deno.writeFile(path, wrong);
      await assert.rejects(openShard(path), FileFormatError);
    }
  }));

Deno.test("shards of uint32 hold ids above 2^31, and are found by whole parts of their names", () =>
  inFolder(async (folder) => {
    const ids = Uint32Array.of(1, 2 ** 31 + 5, 2 ** 32 - 1);
    const names = ["restrained_val_000001.npy", "a_train_000010.npy", "a_train_000009.npy"];
    for (const name of names) await writeNpy(join(folder, name), ids);
    const source = await openShard(join(folder, names[0]));
    assert.deepEqual(await source.read(1, 2), ids.slice(1));
    source.close();
    const found = await findShards(folder, { split: "train" });
    assert.deepEqual(found, [join(folder, names[2]), join(folder, names[1])]);
  }));

Deno.test("ShardWriter has the sizes and the split that are documented", () =>
  inFolder(async (folder) => {
    const large = new ShardWriter(folder, { prefix: "a" });
    await large.write(new Uint16Array(1_000_001));
    await large.close();
    assert.deepEqual(large.paths, [join(folder, "a_val_000000.npy")]);
    const small = new ShardWriter(folder, { prefix: "b", tokensPerShard: 2, validationShards: 2 });
    await small.write([1, 2, 3, 4, 65_535]);
    await small.close();
    assert.deepEqual(
      small.paths,
      [
        ...["b_val_000000.npy", "b_val_000001.npy", "b_train_000002.npy"],
      ].map((name) => join(folder, name)),
    );
    await assert.rejects(small.write([65_536]), RangeError);
  }));

Deno.test("listCheckpoints() sorts by steps of any length, and passes over folders", () =>
  inFolder(async (folder) => {
    const steps = [99_999_999, 100_000_000, 7];
    for (const step of steps) await saveCheckpoint(folder, step, { state: null, tensors: [] });
    await Deno.mkdir(join(folder, "step_00000008.safetensors"));
    const found = (await listCheckpoints(folder)).map(({ step }) => step);
    assert.deepEqual(found, [7, 99_999_999, 100_000_000]);
    // The newest are kept, and what is newer than this one.
    await saveCheckpoint(folder, 8000, { state: null, tensors: [] }, { keep: 1 });
    const kept = (await listCheckpoints(folder)).map(({ step }) => step);
    assert.deepEqual(kept, [8000, 99_999_999, 100_000_000]);
  }));

Deno.test("cutAtWord() cuts a text where its tokens are those of the parts", () => {
  const tokenizer = new GPT2Tokenizer();
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const texts = [
    "two  blanks   three \n\n lines\n\n\nend  .",
    "one\nword\na\nline\n",
    "a\u00a0 b\u3000 c \u2003d",
    "it's  'tis ...  12  345 \r\n x",
  ];
  for (const text of texts) {
    const bytes = encoder.encode(text);
    const whole = [...tokenizer.encodeOrdinary(text)];
    let cuts = 0;
    for (let length = 1; length <= bytes.length; length++) {
      const cut = cutAtWord(bytes.subarray(0, length));
      if (cut === 0) continue;
      cuts++;
      const parts = [bytes.subarray(0, cut), bytes.subarray(cut)].flatMap((part) => [
        ...tokenizer.encodeOrdinary(decoder.decode(part)),
      ]);
      assert.deepEqual(parts, whole, `${JSON.stringify(text)} cut at ${cut}`);
    }
    assert.ok(cuts > 3, `${cuts} cuts in ${JSON.stringify(text)}`);
  }
});
