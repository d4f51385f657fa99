import assert from "node:assert/strict";
import { TokenizerFormatError } from "../../src/tokenizer/byte_pair_json.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { assertSame } from "../support/compare.ts";

const good = {
  format: "dinograd-byte-pair-tokenizer",
  version: 1,
  pattern: "gpt4",
  merges: [[97, 98], [256, 99]],
  specialTokens: ["<|endoftext|>"],
};

/** That a file of `changes` is refused with a message that begins so. */
function assertRefused(changes: Record<string, unknown>, message: string): void {
  assert.throws(
    () => BytePairTokenizer.fromJSON({ ...good, ...changes }, "t.json"),
    (error: Error) => {
      assert(error instanceof TokenizerFormatError);
      assert.equal(error.message, message);
      return true;
    },
  );
}

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
    const whole = JSON.stringify(good);
    for (const text of ["", "{", whole.slice(0, -5), "\0\0\0\0", "[".repeat(100_000)]) {
      await Deno.writeTextFile(path, text);
      await assert.rejects(BytePairTokenizer.load(path), (error: Error) => {
        assert(error instanceof TokenizerFormatError, String(error));
        assert(error.message.startsWith(`${path}: not JSON: `), error.message);
        return true;
      });
    }
    await Deno.writeTextFile(path, "[]");
    await assert.rejects(BytePairTokenizer.load(path), {
      message: `${path}: expected a JSON object, got []`,
    });
    await assert.rejects(BytePairTokenizer.load(`${folder}/none`), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("BytePairTokenizer.fromJSON() names the field when it is wrong", () => {
  const format = good.format;
  assertRefused({ format: "x" }, `t.json: format: expected "${format}", got "x"`);
  assertRefused({ version: 2 }, "t.json: version: expected 1, got 2");
  assertRefused({ pattern: "gpt5" }, `t.json: pattern: expected "gpt2" or "gpt4", got "gpt5"`);
  assertRefused(
    { merges: undefined },
    "t.json: merges: expected a list of pairs of ids, got undefined",
  );
  assertRefused(
    { merges: { length: 9 } },
    "t.json: merges: expected a list of pairs of ids, got an object",
  );
  assertRefused(
    { merges: [[97, 98], [99]] },
    "t.json: merges[1]: expected a pair of ids, got [99]",
  );
  assertRefused(
    { merges: [[97, "98"]] },
    `t.json: merges[0]: expected ids from 0 to 255, got [97,"98"]`,
  );
  assertRefused(
    { merges: [[97, 256]] },
    "t.json: merges[0]: expected ids from 0 to 255, got [97,256]",
  );
  assertRefused(
    { merges: [[-1, 97]] },
    "t.json: merges[0]: expected ids from 0 to 255, got [-1,97]",
  );
  assertRefused(
    { merges: [[0.5, 97]] },
    "t.json: merges[0]: expected ids from 0 to 255, got [0.5,97]",
  );
  assertRefused(
    { merges: [[97, 98], [97, 98]] },
    "t.json: merges[1]: expected no pair twice (merges[0]), got [97,98]",
  );
  assertRefused(
    { merges: new Array(2) },
    "t.json: merges[0]: expected a pair of ids, got undefined",
  );
  assertRefused(
    { specialTokens: {} },
    "t.json: specialTokens: expected a list of texts, got an object",
  );
  assertRefused(
    { specialTokens: [5] },
    "t.json: specialTokens[0]: expected well-formed text that is not empty, got a number",
  );
  assertRefused(
    { specialTokens: ["a", "a"] },
    `t.json: specialTokens[1]: expected each special token once but got "a" twice`,
  );
});

Deno.test("BytePairTokenizer.fromJSON() refuses when a file asks for much memory", () => {
  // Each merge doubles the token: the fortieth would take a terabyte.
  const doubling = Array.from({ length: 40 }, (_, i) => i === 0 ? [97, 97] : [255 + i, 255 + i]);
  assertRefused(
    { merges: doubling },
    "t.json: merges[10]: expected a token of at most 1024 bytes, got 2048",
  );
  assertRefused(
    { merges: new Array(2 ** 32 - 1) },
    "t.json: merges: expected a vocabulary of at most 2097152 ids, got 4294967295",
  );
  const manyTokens = Array.from({ length: 5000 }, (_, i) => `<${i}>`);
  assertRefused(
    { specialTokens: manyTokens },
    "t.json: specialTokens: expected at most 4096 special tokens, got 5000",
  );
  // Many tokens that are each just short enough.
  const many = doubling.slice(0, 9);
  for (let byte = 0; byte < 256; byte++) many.push([264, byte]);
  for (let id = 265; id < 521; id++) {
    for (let byte = 0; byte < 256; byte++) many.push([id, byte], [byte, id]);
  }
  assert.throws(
    () => BytePairTokenizer.fromJSON({ ...good, merges: many }, "t.json"),
    /t\.json: merges\[\d+\]: expected tokens of at most 67108864 bytes together, got 6710\d{4}$/,
  );
});
