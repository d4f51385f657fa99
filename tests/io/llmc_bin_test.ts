import assert from "node:assert/strict";
import { join } from "node:path";
import { readLlmcHeader, readLlmcTokens, writeLlmcTokens } from "../../src/io/llmc_bin.ts";

/** What llm.c's data_common.py writes, byte by byte. */
function shard(magic: number, version: number, claimed: number, tokens: number[]): Uint8Array {
  const bytes = new Uint8Array(1024 + tokens.length * 2);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, magic, true);
  view.setInt32(4, version, true);
  view.setInt32(8, claimed, true);
  tokens.forEach((token, i) => view.setUint16(1024 + 2 * i, token, true));
  return bytes;
}

Deno.test("readLlmcTokens() returns the tokens when the shard is llm.c's", async () => {
  const tokens = await readLlmcTokens(shard(20240520, 1, 3, [50256, 1, 65535]));
  assert.deepEqual([...tokens], [50256, 1, 65535]);
});

Deno.test("writeLlmcTokens() writes llm.c's bytes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "a.bin");
    await writeLlmcTokens(path, Uint16Array.of(1, 2, 50256));
    assert.deepEqual(await Deno.readFile(path), shard(20240520, 1, 3, [1, 2, 50256]));
    assert.deepEqual(await readLlmcHeader(path), { tokenCount: 3, dataOffset: 1024 });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readLlmcHeader() throws when the file is foreign, newer or cut short", async () => {
  const refused = async (bytes: Uint8Array, message: RegExp) =>
    await assert.rejects(readLlmcHeader(bytes), message);
  await refused(shard(7, 1, 1, [1]), /number 20240520 but got 7 \(at byte 0\)/);
  await refused(shard(20240801, 7, 1, [1, 0]), /Llama 3/);
  await refused(shard(20240520, 2, 1, [1]), /version 1 but got 2 \(at byte 4\)/);
  await refused(shard(20240520, 1, 2, [1]), /expected 1028 bytes for 2 tokens but got 1026/);
  await refused(shard(20240520, 1, -1, [1]), /for -1 tokens/);
  await refused(new Uint8Array(100), /expected an llm\.c header of 1024 bytes/);
});
