import assert from "node:assert/strict";
import { join } from "node:path";
import { ShardWriter } from "../../src/data/shard_writer.ts";
import { findShards, openShard } from "../../src/data/shards.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { readLlmcTokens } from "../../src/io/llmc_bin.ts";
import { readNpy, writeNpy } from "../../src/io/npy.ts";

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("findShards() returns a split's shards by number when others lie beside them", async () => {
  await withFolder(async (folder) => {
    const names = [
      "edufineweb_val_000000.npy",
      "edufineweb_train_000010.npy",
      "edufineweb_train_000002.npy",
      "edufineweb_train_1000000.npy",
      "edufineweb_train_000001.bin",
      "training_notes_000001.txt",
      "log.txt",
    ];
    for (const name of names) await Deno.writeFile(join(folder, name), new Uint8Array());
    assert.deepEqual(
      await findShards(folder, { split: "train" }),
      ["000001.bin", "000002.npy", "000010.npy", "1000000.npy"]
        .map((end) => join(folder, `edufineweb_train_${end}`)),
    );
    assert.deepEqual(await findShards(folder, { split: "val" }), [join(folder, names[0])]);
    assert.equal((await findShards(folder)).length, 5);
    await assert.rejects(
      findShards(folder, { split: "test" }),
      /token shards named like <name>_test_000001.npy \(or .bin\) but got edufineweb_train_/,
    );
  });
});

Deno.test("findShards() throws when the same shard is there in two formats", async () => {
  await withFolder(async (folder) => {
    for (const name of ["a_train_000001.npy", "a_train_000001.bin", "b_train_000001.bin"]) {
      await Deno.writeFile(join(folder, name), new Uint8Array());
    }
    await assert.rejects(
      findShards(folder),
      /expected each shard once but got a_train_000001\.\w+ and /,
    );
  });
});

Deno.test("findShards() throws when the folder is missing, empty or a file", async () => {
  await withFolder(async (folder) => {
    await assert.rejects(findShards(folder), /expected token shards .* but got nothing/);
    await assert.rejects(findShards(join(folder, "no")), /no: expected a folder of token shards/);
    await Deno.writeTextFile(join(folder, "f"), "");
    await assert.rejects(findShards(join(folder, "f")), /expected a folder of token shards/);
  });
});

Deno.test("ShardWriter writes build-nanogpt's files when tokens come in any portions", async () => {
  await withFolder(async (folder) => {
    const tokens = Uint16Array.from({ length: 1000 }, (_, i) => i * 65);
    const writer = new ShardWriter(folder, { prefix: "edu_web", tokensPerShard: 300 });
    for (const [from, to] of [[0, 1], [1, 700], [700, 700], [700, 1000]]) {
      await writer.write(tokens.subarray(from, to));
    }
    await writer.close();
    await writer.close();
    assert.deepEqual(
      writer.paths,
      ["val_000000", "train_000001", "train_000002", "train_000003"]
        .map((end) => join(folder, `edu_web_${end}.npy`)),
    );
    const parts = await Promise.all(writer.paths.map((path) => readNpy(path)));
    assert.deepEqual(parts.map((part) => part.dtype), ["u2", "u2", "u2", "u2"]);
    assert.deepEqual(parts.map((part) => part.shape), [[300], [300], [300], [100]]);
    assert.deepEqual(parts.flatMap((part) => Array.from(part.data, Number)), [...tokens]);
    await assert.rejects(
      writer.write([1, 65536]),
      /expected ids below 65,536 but got 65536 at index 1/,
    );
    await assert.rejects(writer.write([-1]), RangeError);
  });
});

Deno.test("ShardWriter writes llm.c's files when the format is bin", async () => {
  await withFolder(async (folder) => {
    const writer = new ShardWriter(folder, { prefix: "a", format: "bin", validationShards: 0 });
    await writer.write([50256, 1, 2]);
    await writer.close();
    assert.deepEqual(writer.paths, [join(folder, "a_train_000000.bin")]);
    assert.deepEqual([...await readLlmcTokens(writer.paths[0])], [50256, 1, 2]);
    const shard = await openShard(writer.paths[0]);
    assert.deepEqual([shard.length, [...await shard.read(1, 2)]], [3, [1, 2]]);
    shard.close();
  });
});

Deno.test("openShard() throws when the file is empty, cut short or no list of tokens", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a_train_000000.npy");
    const refused = (message: RegExp) =>
      assert.rejects(openShard(path), (error: FileFormatError) => {
        assert(error instanceof FileFormatError);
        assert.match(error.message, message);
        return error.message.startsWith(path);
      });
    await Deno.writeFile(path, new Uint8Array());
    await refused(/expected a .npy file/);
    await writeNpy(path, new Uint16Array(0));
    await refused(/expected tokens but got none/);
    await writeNpy(path, new Float32Array(4));
    await refused(/expected one axis of u2, u4 or i4 but got f4 of shape \[4\]/);
    await writeNpy(path, new Uint16Array(4), [2, 2]);
    await refused(/got u2 of shape \[2,2\]/);
    await writeNpy(path, new Uint16Array(4));
    await Deno.truncate(path, 130);
    await refused(/bytes of data for shape/);
    await assert.rejects(openShard(join(folder, "none.npy")), Deno.errors.NotFound);
  });
});
