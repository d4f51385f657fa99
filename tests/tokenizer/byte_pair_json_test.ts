import assert from "node:assert/strict";
import { TokenizerFormatError } from "../../src/tokenizer/tokenizer.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { assertSame } from "../support/compare.ts";

Deno.test("BytePairTokenizer.load() gives the tokenizer that save() wrote", async () => {
  const text = "The quick brown fox jumps over the lazy dog. ".repeat(20) + "naïve 🦕";
  const options = { merges: 60, specialTokens: ["<|endoftext|>", "__proto__"] };
  const saved = BytePairTokenizer.train(text, options);
  const folder = await Deno.makeTempDir();
  try {
    await saved.save(`${folder}/tokenizer.json`);
    const loaded = await BytePairTokenizer.load(`${folder}/tokenizer.json`);
    assert.deepEqual(loaded.toJSON(), saved.toJSON());
    assert.deepEqual(loaded.specialTokens, saved.specialTokens);
    assert.equal(loaded.vocabSize, saved.vocabSize);
    const options = { allowedSpecial: "all" } as const;
    const ids = saved.encode(text + "<|endoftext|>__proto__", options);
    assertSame(loaded.encode(text + "<|endoftext|>__proto__", options), ids);
    assert.equal(loaded.decode(ids), text + "<|endoftext|>__proto__");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("BytePairTokenizer.load() names the file when it cannot be read as a tokenizer", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/tokenizer.json`;
  try {
    const whole = JSON.stringify(BytePairTokenizer.train("low lower", { merges: 2 }));
    for (const text of ["", "{", whole.slice(0, -5), "\0\0\0\0", "[".repeat(100_000)]) {
      await Deno.writeTextFile(path, text);
      await assert.rejects(BytePairTokenizer.load(path), (error: Error) => {
        assert(error instanceof TokenizerFormatError, String(error));
        assert(error.message.startsWith(`${path}: expected JSON: `), error.message);
        return true;
      });
    }
    await Deno.writeTextFile(path, "[]");
    await assert.rejects(BytePairTokenizer.load(path), {
      message: `${path}: file: expected an object but got []`,
    });
    await assert.rejects(BytePairTokenizer.load(`${folder}/none`), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("BytePairTokenizer.train() refuses special tokens that a file cannot tell from learned ones", () => {
  const train = (token: string) => () =>
    BytePairTokenizer.train("low low", { merges: 2, specialTokens: [token] });
  for (const token of ["l", "é"]) {
    assert.throws(train(token), /^TypeError: train: expected specialTokens to be no tokens/);
  }
});
