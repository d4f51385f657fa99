import assert from "node:assert/strict";
import { get_encoding } from "npm:tiktoken@1.0.22";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { SpecialTokenError } from "../../src/tokenizer/tokenizer.ts";
import { randomIllFormedText, randomText, realTexts, seededRandom } from "./texts.ts";
import { assertSame } from "../support/compare.ts";

const tokenizer = new GPT2Tokenizer();
const oracle = get_encoding("gpt2");

/** Fails with the text if the ids are not tiktoken's. */
function assertSameIds(text: string): void {
  assertSame(tokenizer.encode(text), oracle.encode(text), JSON.stringify(text.slice(0, 200)));
}

Deno.test("GPT2Tokenizer.encode() gives tiktoken's ids when a whole book is encoded", async () => {
  for (const { name, text } of await realTexts()) {
    const expected = oracle.encode(text);
    const actual = tokenizer.encode(text);
    assert.equal(actual.length, expected.length, name);
    const wrong = actual.findIndex((id, i) => id !== expected[i]);
    assert.equal(wrong, -1, `${name}: id ${wrong} is ${actual[wrong]}, not ${expected[wrong]}`);
    assert.equal(tokenizer.decode(actual), text, name);
  }
});

Deno.test("GPT2Tokenizer.encode() gives tiktoken's ids when text is random Unicode", () => {
  const random = seededRandom(1);
  for (let i = 0; i < 10_000; i++) {
    const text = randomText(random);
    assertSameIds(text);
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

Deno.test("GPT2Tokenizer.encode() gives tiktoken's ids when surrogates stand alone", () => {
  const random = seededRandom(2);
  for (let i = 0; i < 500; i++) {
    const text = randomIllFormedText(random);
    assertSameIds(text);
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text.toWellFormed());
  }
});

Deno.test("GPT2Tokenizer.encode() gives tiktoken's ids when words are long", () => {
  const random = seededRandom(3);
  const letters = "abcdefghijklmnopqrstuvwxyzéß語";
  for (const length of [47, 48, 49, 50, 120, 300, 900]) {
    let word = "";
    while (word.length < length) word += letters[Math.floor(random() ** 2 * letters.length)];
    assertSameIds(word);
    assertSameIds("-".repeat(length));
    assertSameIds(" ".repeat(length) + word);
  }
});

Deno.test("GPT2Tokenizer.encode() takes time in proportion when one word is very long", () => {
  // Merging by looking at all pairs each time would need some 10^12 steps here.
  const ids = tokenizer.encode("ab".repeat(500_000));
  assert.equal(tokenizer.decode(ids), "ab".repeat(500_000));
});

Deno.test("GPT2Tokenizer.encode() goes on giving tiktoken's ids when its cache overflows", () => {
  const random = seededRandom(4);
  const words = Array.from(
    { length: 150_000 },
    () => ` ${Math.floor(random() * 1e9).toString(36)}`,
  );
  const text = words.join("");
  const few = words.slice(0, 1000).join("");
  const before = tokenizer.encode(few);
  assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  assertSame(tokenizer.encode(few), before);
  assertSameIds(few);
});

Deno.test("GPT2Tokenizer has GPT-2's sizes and special token", () => {
  assert.equal(tokenizer.vocabSize, 50257);
  assert.equal(tokenizer.endOfText, 50256);
  assert.deepEqual([...tokenizer.specialTokens], [["<|endoftext|>", 50256]]);
  assert.deepEqual(tokenizer.encode(""), new Uint32Array(0));
  assert.equal(tokenizer.decode([]), "");
});

Deno.test("GPT2Tokenizer.decodeBytes() gives tiktoken's bytes for every single id", () => {
  for (let id = 0; id < 50257; id++) {
    const expected = oracle.decode_single_token_bytes(id);
    const actual = tokenizer.decodeBytes([id]);
    if (actual.length !== expected.length || actual.some((byte, i) => byte !== expected[i])) {
      assert.deepEqual([...actual], [...expected], `id ${id}`);
    }
  }
});

Deno.test("GPT2Tokenizer.encode() treats special tokens as tiktoken does when told how", () => {
  const text = "a<|endoftext|> b<|endoftext|><|endoftext|>";
  assert.deepEqual(
    [...tokenizer.encode(text, { allowedSpecial: "all" })],
    [...oracle.encode(text, "all")],
  );
  assert.deepEqual(
    [...tokenizer.encode(text, { allowedSpecial: ["<|endoftext|>"] })],
    [...oracle.encode(text, ["<|endoftext|>"])],
  );
  assert.deepEqual(
    [...tokenizer.encode(text, { disallowedSpecial: [] })],
    [...oracle.encode(text, [], [])],
  );
  assertSame([...tokenizer.encodeOrdinary(text)], [...oracle.encode_ordinary(text)]);
  assert.equal(tokenizer.decode(tokenizer.encode(text, { allowedSpecial: "all" })), text);
  const both = tokenizer.encodeBatch([text, "x"], { allowedSpecial: "all" });
  assert.deepEqual(both, [
    tokenizer.encode(text, { allowedSpecial: "all" }),
    tokenizer.encode("x"),
  ]);
});

Deno.test("GPT2Tokenizer.encode() throws when a special token is not allowed", () => {
  assert.throws(() => oracle.encode("one<|endoftext|>"));
  assert.throws(() => tokenizer.encode("one<|endoftext|>"), (error) => {
    assert(error instanceof SpecialTokenError);
    assert.equal(error.index, 3);
    assert.match(error.message, /"<\|endoftext\|>" at index 3.*id 50256.*disallowedSpecial: \[\]/);
    return true;
  });
  // Refusing what is allowed too: tiktoken refuses.
  const both = ["<|endoftext|>"];
  assert.throws(() => oracle.encode("<|endoftext|>", both, both));
  assert.throws(
    () => tokenizer.encode("<|endoftext|>", { allowedSpecial: both, disallowedSpecial: both }),
    SpecialTokenError,
  );
  assert.throws(
    () => tokenizer.encode("x", { allowedSpecial: "<|endoftext|>" as "all" }),
    /special tokens: expected "all" or a list but got the string "<\|endoftext\|>"/,
  );
});

Deno.test("GPT2Tokenizer.decode() throws when an id is out of range", () => {
  for (const id of [50257, -1, 1.5, NaN, Infinity, 2 ** 32]) {
    assert.throws(
      () => tokenizer.decode([15496, id]),
      new RangeError(`ids[1]: expected an integer from 0 to 50256 but got ${id}`),
    );
  }
});

Deno.test("GPT2Tokenizer keeps a byte order mark when it decodes", () => {
  assert.equal(tokenizer.decode(tokenizer.encode("\ufeffx")), "\ufeffx");
});

Deno.test("GPT2Tokenizer.decode() gives U+FFFD when ids end inside a character", () => {
  const ids = tokenizer.encode("🦕");
  assert.equal(tokenizer.decode(ids.subarray(0, ids.length - 1)), "\ufffd");
});

Deno.test("GPT2Tokenizer works when its program has no permission", async () => {
  const module = import.meta.resolve("../../src/tokenizer/gpt2_tokenizer.ts");
  const program = `import { GPT2Tokenizer } from ${JSON.stringify(module)};
    console.log([...new GPT2Tokenizer().encode("Hello world")].join(" "));`;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-check",
      `data:text/typescript,${encodeURIComponent(program)}`,
    ],
    cwd: new URL("../../", import.meta.url).pathname,
  }).output();
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).trim();
  assert.equal(code, 0, decode(stderr));
  assert.equal(decode(stdout), "15496 995");
});
