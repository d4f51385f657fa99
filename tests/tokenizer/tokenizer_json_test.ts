// Tokenizers out of tokenizer.json give the ids of those who wrote the files.
import assert from "node:assert/strict";
import {
  SpecialTokenError,
  type Tokenizer,
  TokenizerFormatError,
} from "../../src/tokenizer/tokenizer.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { GPT2_PATTERN, GPT4_PATTERN } from "../../src/tokenizer/splitter.ts";
import { loadTokenizerJson, tokenizerFromJson } from "../../src/tokenizer/tokenizer_json.ts";
import { BYTE_CHARACTERS } from "../../src/tokenizer/vocabulary.ts";
import { mobyDick, randomText, seededRandom } from "./texts.ts";
import { assertSame } from "../support/compare.ts";

// deno-lint-ignore no-explicit-any -- JSON that the tests change
type Json = any;

const asText = (bytes: Iterable<number>) =>
  Array.from(bytes, (byte) => BYTE_CHARACTERS[byte]).join("");

/** A byte-level file as Hugging Face's library writes it. */
function byteLevelFile(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
  specials: readonly string[],
  pattern: "gpt2" | "gpt4",
): Json {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const split = {
    type: "Split",
    pattern: { Regex: GPT4_PATTERN },
    behavior: "Isolated",
    invert: false,
  };
  return {
    version: "1.0",
    added_tokens: specials.map((content, i) => ({
      ...{ id: tokens.length + i, content, special: true, normalized: false },
      ...{ single_word: false, lstrip: false, rstrip: false },
    })),
    normalizer: null,
    pre_tokenizer: pattern === "gpt2" ? byteLevel : {
      type: "Sequence",
      pretokenizers: [split, { ...byteLevel, use_regex: false }],
    },
    post_processor: { ...byteLevel, use_regex: true },
    decoder: byteLevel,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map((pair) => [...pair]),
    },
  };
}

/** GPT-2's ranks as a file: each token by the two that the merges before it leave of its bytes. */
function gpt2File(gpt2: GPT2Tokenizer): Json {
  const tokens = Array.from({ length: 50256 }, (_, id) => asText(gpt2.decodeBytes([id])));
  const ranks = new Map(tokens.map((token, id) => [token, id]));
  const merges: [string, string][] = [];
  for (const [id, token] of tokens.entries()) {
    let parts = [...token];
    while (parts.length > 2) {
      const found = parts.slice(1).map((right, i) => ranks.get(parts[i] + right) ?? Infinity);
      const best = Math.min(...found);
      assert(best < id);
      const at = found.indexOf(best);
      parts = parts.toSpliced(at, 2, parts[at] + parts[at + 1]);
    }
    if (parts.length === 2) merges.push([parts[0], parts[1]]);
  }
  return byteLevelFile(tokens, merges, ["<|endoftext|>"], "gpt2");
}

/** A file like LLaMA 2's: special tokens, bytes, characters, merges. */
function sentencePieceFile(characters: string, merges: readonly [string, string][]): Json {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const special = ["<unk>", "<s>", "</s>"];
  const made = new Set(merges.map(([left, right]) => left + right));
  const tokens = [...special, ...bytes, ...made, ...characters];
  return {
    version: "1.0",
    added_tokens: special.map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      ...{ type: "BPE", unk_token: "<unk>", fuse_unk: true, byte_fallback: true },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map((pair) => pair.join(" ")),
    },
  };
}

/** Ids by the names of the tokens. */
function named(file: Json, ...tokens: string[]): number[] {
  return tokens.map((token) => file.model.vocab[token]);
}

const words: [string, string][] = [
  ["l", "o"],
  ["lo", "w"],
  ["▁", "low"],
  ["e", "r"],
  ["w", "er"],
  ["▁", "▁"],
];
const characters = "▁lowers\n";

for (const pattern of ["gpt2", "gpt4"] as const) {
  Deno.test(`tokenizerFromJson() gives the ids of a tokenizer trained here with ${pattern}'s pattern`, async () => {
    const text = (await mobyDick()).slice(0, 200_000);
    const specialTokens = ["<|endoftext|>", "<|end|>"];
    const ours = BytePairTokenizer.train(text.slice(0, 50_000), {
      ...{ vocabSize: 700, specialTokens, pattern },
    });
    const theirs = tokenizerFromJson(JSON.parse(JSON.stringify(ours)));
    assert.equal(theirs.vocabSize, 700);
    assert.deepEqual(theirs.specialTokens, ours.specialTokens);
    assertSame(theirs.encodeOrdinary(text), ours.encodeOrdinary(text));
    const random = seededRandom(7);
    for (let i = 0; i < 300; i++) {
      const one = randomText(random);
      const ids = ours.encodeOrdinary(one);
      assert.deepEqual(theirs.encodeOrdinary(one), ids, one);
      assert.equal(theirs.decode(ids), ours.decode(ids));
    }
    const marked = "one<|endoftext|>two<|end|>";
    const all = { allowedSpecial: "all" } as const;
    assertSame(theirs.encode(marked, all), ours.encode(marked, all));
    assert.throws(() => theirs.encode(marked), SpecialTokenError);
    assert.deepEqual(theirs.encodeBatch(["a", "b"]), ours.encodeBatch(["a", "b"]));
  });
}

Deno.test("tokenizerFromJson() gives GPT-2's ids out of GPT-2's tokens and merges", async () => {
  const gpt2 = new GPT2Tokenizer();
  const copy = tokenizerFromJson(gpt2File(gpt2));
  const text = (await mobyDick()).slice(0, 300_000);
  assertSame(copy.encode(text), gpt2.encode(text));
  const random = seededRandom(8);
  for (let i = 0; i < 300; i++) {
    const one = randomText(random);
    assert.deepEqual(copy.encodeOrdinary(one), gpt2.encodeOrdinary(one), one);
  }
  assert.equal(copy.vocabSize, 50257);
  assert.deepEqual([...copy.specialTokens], [["<|endoftext|>", 50256]]);
});

Deno.test("tokenizerFromJson() merges by the order of the merges, whatever the ids", () => {
  // Ids run backwards, and "abc" comes about in two ways.
  const tokens = [...BYTE_CHARACTERS, "ab", "bc", "abc", "cd"].toReversed();
  const merges = [["b", "c"], ["c", "d"], ["a", "b"], ["ab", "c"], ["a", "bc"]] as const;
  const file = byteLevelFile(tokens, merges, [], "gpt2");
  const ids = (...names: string[]) => Uint32Array.from(named(file, ...names));
  const tokenizer = tokenizerFromJson(file);
  assert.deepEqual(tokenizer.encode("abc"), ids("abc"));
  assert.deepEqual(tokenizer.encode("abcd"), ids("abc", "d"));
  assert.deepEqual(tokenizer.encode("acd ab"), ids("a", "cd", "Ġ", "ab"));
  // "abc" is the merge of a and bc where the merge of ab and c is left out: the result is the same token.
  file.model.merges = merges.slice(0, 3);
  assert.deepEqual(tokenizerFromJson(file).encode("abc"), ids("a", "bc"));
  file.model.ignore_merges = true; // a word that is a token is that token
  assert.deepEqual(tokenizerFromJson(file).encode("abc abcd"), ids("abc", "Ġ", "a", "bc", "d"));
});

Deno.test("tokenizerFromJson() finds added tokens always and special ones when allowed", () => {
  const file = byteLevelFile(BYTE_CHARACTERS, [], ["<s>"], "gpt4");
  file.added_tokens.push({ id: 257, content: "日本", special: false });
  const tokenizer = tokenizerFromJson(file);
  assert.deepEqual([...tokenizer.specialTokens], [["<s>", 256]]);
  const plain = (text: string) => file.model.vocab[text];
  const all = tokenizer.encode("a<s>日本b", { allowedSpecial: "all" });
  assert.deepEqual([...all], [plain("a"), 256, 257, plain("b")]);
  assert.deepEqual([...tokenizer.encodeOrdinary("日本<")], [257, plain("<")]);
  assert.equal(tokenizer.decode(all), "a<s>日本b");
});

Deno.test("tokenizerFromJson() takes ids that a file leaves out as empty, as in GPT-4's", () => {
  const file = byteLevelFile(BYTE_CHARACTERS, [], ["<s>"], "gpt4");
  file.added_tokens.push({ id: 276, content: "<end>", special: true });
  const tokenizer = tokenizerFromJson(file);
  assert.equal(tokenizer.vocabSize, 277);
  const ids = tokenizer.encode("<s><end>", { allowedSpecial: "all" });
  assert.deepEqual([...ids], [256, 276]);
  assert.equal(tokenizer.decode([256, 260, 276]), "<s><end>");
  const copy = tokenizerFromJson(JSON.parse(JSON.stringify(tokenizer)));
  assert.deepEqual(copy.encode("<s><end>", { allowedSpecial: "all" }), ids);
});

Deno.test("SentencePieceTokenizer marks spaces, merges by rank and falls back to bytes", () => {
  const file = sentencePieceFile(characters, words);
  const tokenizer = tokenizerFromJson(file);
  const cases: [text: string, tokens: string[]][] = [
    ["low", ["▁low"]],
    ["lower", ["▁low", "er"]],
    [" low", ["▁", "▁low"]], // "▁ low" comes before "▁ ▁"
    ["  s", ["▁▁", "▁", "s"]],
    ["slow lower\nlo", ["▁", "s", "low", "▁low", "er", "\n", "lo"]],
    ["wer", ["▁", "wer"]],
    ["é", ["▁", "<0xC3>", "<0xA9>"]],
    ["<s>", ["▁", "<0x3C>", "s", "<0x3E>"]],
    ["", []],
  ];
  for (const [text, tokens] of cases) {
    assert.deepEqual([...tokenizer.encodeOrdinary(text)], named(file, ...tokens), text);
    assert.equal(tokenizer.decode(tokenizer.encodeOrdinary(text)), text);
  }
  assert.deepEqual(tokenizer.prefix, [1]);
  assert.deepEqual(tokenizer.suffix, []);
  // Each part between special tokens begins with a space of its own.
  const ids = tokenizer.encode("low<s>low", { allowedSpecial: ["<s>"] });
  assert.deepEqual([...ids], named(file, "▁low", "<s>", "▁low"));
  assert.equal(tokenizer.decode([1, 0x41 + 3, 0xff + 3]), "<s>A\ufffd");
  assert.deepEqual(tokenizer.encodeOrdinary("\ud800"), tokenizer.encodeOrdinary("\ufffd"));
});

Deno.test("SentencePieceTokenizer takes the space before a text from Metaspace, too", () => {
  const file = sentencePieceFile(characters, words);
  file.normalizer = null;
  const texts = ["low", " low", "low<s>low", "<s>low"];
  const expected = {
    always: [["▁low"], ["▁low"], ["▁low", "<s>", "▁low"], ["<s>", "▁low"]],
    first: [["▁low"], ["▁low"], ["▁low", "<s>", "low"], ["<s>", "low"]],
    never: [["low"], ["▁low"], ["low", "<s>", "low"], ["<s>", "low"]],
  };
  for (const [prepend_scheme, tokens] of Object.entries(expected)) {
    file.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme, split: false };
    const tokenizer = tokenizerFromJson(file);
    const found = texts.map((text) => [...tokenizer.encode(text, { allowedSpecial: "all" })]);
    assert.deepEqual(found, tokens.map((names) => named(file, ...names)), prepend_scheme);
  }
});

Deno.test("SentencePieceTokenizer writes a file that reads as itself, also elsewhere", async () => {
  const { Tokenizer: Oracle } = await import("npm:@huggingface/tokenizers@0.2.0");
  const path = await Deno.makeTempFile({ suffix: ".json" });
  const schemes = [undefined, "always", "first", "never"];
  for (const prepend_scheme of schemes) {
    const file = sentencePieceFile(characters, words);
    if (prepend_scheme) {
      file.normalizer = null;
      file.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme, split: false };
    }
    const tokenizer = tokenizerFromJson(file);
    await tokenizer.save(path);
    const copy = await loadTokenizerJson(path);
    assert.deepEqual([copy.prefix, copy.suffix], [[1], []]);
    assert.deepEqual(copy.specialTokens, tokenizer.specialTokens);
    const oracle = new Oracle(JSON.parse(await Deno.readTextFile(path)), {});
    for (const text of ["low", " low", "slow lower\nlo", "é wer", "low<s>low"]) {
      const ids = tokenizer.encode(text, { allowedSpecial: "all" });
      assert.deepEqual(copy.encode(text, { allowedSpecial: "all" }), ids, text);
      assert.equal(copy.decode(ids), tokenizer.decode(ids));
      const found = oracle.encode(text, { add_special_tokens: false }).ids;
      assert.deepEqual(found, [...ids], `${prepend_scheme}: ${text}`);
    }
  }
  await Deno.remove(path);
});

Deno.test("SentencePieceTokenizer merges over spaces where its merges do", () => {
  const file = sentencePieceFile(characters, [["o", "▁"], ["o▁", "w"]]);
  const tokenizer = tokenizerFromJson(file);
  assert.deepEqual([...tokenizer.encode("lo w")], named(file, "▁", "l", "o▁w"));
});

Deno.test("SentencePieceTokenizer encodes a long text without spaces", () => {
  const file = sentencePieceFile(characters, words);
  const tokenizer = tokenizerFromJson(file);
  const ids = tokenizer.encode("lower".repeat(40_000));
  assert.equal(ids.length, 80_000);
  assert.deepEqual([...ids.slice(0, 4)], named(file, "▁low", "er", "low", "er"));
});

Deno.test("tokenizerFromJson() agrees with tokenizers.js on random vocabularies", async () => {
  const { Tokenizer: Oracle } = await import("npm:@huggingface/tokenizers@0.2.0");
  const random = seededRandom(9);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)];
  const grow = (alphabet: readonly string[], count: number): [string, string][] => {
    const tokens = [...alphabet];
    return Array.from({ length: count }, () => {
      const pair: [string, string] = [pick(tokens), pick(tokens)];
      tokens.push(pair.join(""));
      return pair;
    });
  };
  const check = (file: Json, alphabet: readonly string[]): void => {
    const oracle = new Oracle(file, {});
    const tokenizer: Tokenizer = tokenizerFromJson(file);
    for (let i = 0; i < 30; i++) {
      const text = Array.from({ length: 1 + random() * 40 }, () => pick(alphabet)).join("");
      const expected = oracle.encode(text, { add_special_tokens: false }).ids;
      assert.deepEqual([...tokenizer.encode(text)], expected, JSON.stringify(text));
    }
  };
  for (let round = 0; round < 10; round++) {
    const sentence = [..."▁abc"];
    check(sentencePieceFile("▁abc", grow(sentence, 30)), [..."  aaabbbcccé日🦕"]);
    const merges = grow([..."Ġabc"], 30);
    const tokens = [...BYTE_CHARACTERS, ...new Set(merges.map((pair) => pair.join("")))];
    const file = byteLevelFile([...new Set(tokens)], merges, [], "gpt2");
    check(file, [..."  aaabbbccc1é日🦕'\n"]);
  }
});

Deno.test("the files of our tokenizers give the same ids in tokenizers.js", async () => {
  const { Tokenizer: Oracle } = await import("npm:@huggingface/tokenizers@0.2.0");
  const text = (await mobyDick()).slice(0, 50_000);
  const specialTokens = ["<|endoftext|>", "<|end|>", "__proto__"];
  const random = seededRandom(11);
  // JavaScript's \s and Unicode's White_Space differ in these two characters.
  const any = () => randomText(random).replace(/[\uFEFF\u0085]/g, "");
  const texts = [text.slice(0, 3000), ...Array.from({ length: 100 }, any)];
  for (
    const tokenizer of [
      BytePairTokenizer.train(text, { vocabSize: 700, specialTokens, pattern: "gpt2" }),
      BytePairTokenizer.train(text, { vocabSize: 700, specialTokens, pattern: "gpt4" }),
      new GPT2Tokenizer(),
    ]
  ) {
    const file = JSON.parse(JSON.stringify(tokenizer));
    const oracle = new Oracle(file, {});
    const asIs = { skip_special_tokens: false, clean_up_tokenization_spaces: false };
    for (const one of texts) {
      const marked = `${one}<|endoftext|>end`;
      const ids = tokenizer.encode(marked, { allowedSpecial: "all" });
      assert.deepEqual([...ids], oracle.encode(marked).ids, JSON.stringify(one));
      assert.equal(oracle.decode([...ids], asIs), tokenizer.decode(ids));
    }
    assert.deepEqual(JSON.parse(JSON.stringify(BytePairTokenizer.fromJSON(file))), file);
  }
});

Deno.test("a tokenizer is written with what stands around its texts", () => {
  const file = byteLevelFile(BYTE_CHARACTERS, [], ["<a>", "<b>"], "gpt4");
  file.added_tokens[1].special = false;
  file.post_processor = {
    type: "TemplateProcessing",
    single: [
      { SpecialToken: { id: "<a>", type_id: 0 } },
      { Sequence: { id: "A", type_id: 0 } },
      { SpecialToken: { id: "<b>", type_id: 0 } },
    ],
    special_tokens: { "<a>": { ids: [256] }, "<b>": { ids: [257, 256] } },
  };
  file.model.ignore_merges = true;
  const tokenizer = BytePairTokenizer.fromJSON(file);
  const copy = BytePairTokenizer.fromJSON(JSON.parse(JSON.stringify(tokenizer)));
  assert.deepEqual([copy.prefix, copy.suffix], [[256], [257, 256]]);
  assert.deepEqual(copy.encode("x<b>"), tokenizer.encode("x<b>"));
  assert.deepEqual(copy.toJSON(), tokenizer.toJSON());
});

Deno.test("tokenizerFromJson() says which field is wrong", () => {
  const cases: [change: (file: Json) => void, message: RegExp][] = [
    [
      (f) => f.model.type = "WordPiece",
      /^a\.json: model\.type: expected "BPE" but got "WordPiece"$/,
    ],
    [(f) => f.model.dropout = 0.1, /model\.dropout: expected 0 but got 0\.1$/],
    [(f) => delete f.model.vocab, /model\.vocab: expected an object but got nothing$/],
    [(f) => f.model.vocab.x = -1, /model\.vocab\["x"\]: expected an id but got -1$/],
    [(f) => f.model.vocab.x = 5, /id of "x": expected one of its own but got 5$/],
    [
      (f) => f.model.vocab.x = 2 ** 40,
      /id of "x": expected one below \d+, with \d+ tokens but got/,
    ],
    [(f) => f.model.merges = {}, /model\.merges: expected a list but got \{\}$/],
    [(f) => f.model.merges.push("a"), /model\.merges\[\d+\]: expected two tokens but got "a"$/],
    [(f) => f.model.merges.push("r l"), /expected a pair that makes a token but got "r l"$/],
    [
      (f) => f.added_tokens[0].lstrip = 1,
      /added_tokens\[0\]\.lstrip: expected true or false but got 1$/,
    ],
    [
      (f) => f.added_tokens[0].id = 9,
      /added_tokens\[0\]\.id: expected 0, as in the vocabulary but got 9/,
    ],
    [(f) => f.added_tokens[0].content = "", /added_tokens\[0\]: expected well-formed text/],
    [(f) => f.normalizer = { type: "NFC" }, /normalizer\.type: expected "Prepend" or "Replace"/],
    [(f) => f.normalizer = null, /normalizer: expected spaces that become "▁" but got null$/],
    [(f) => f.pre_tokenizer = { type: "Digits" }, /pre_tokenizer\.type: expected "ByteLevel" or/],
    [(f) => f.decoder = { type: "WordPiece" }, /decoder\.type: expected "Replace", "ByteFallback"/],
    [(f) => f.post_processor.single[0].SpecialToken.id = "x", /special_tokens\["x"\]: expected an/],
    [
      (f) => f.post_processor.special_tokens["<s>"].ids = [999],
      /expected ids below \d+ but got 999$/,
    ],
    [(f) => f.model.byte_fallback = false, /model\.byte_fallback: expected true but got false$/],
    [(f) => f.model.vocab["<0x1>"] = f.model.vocab["<0x00>"], /expected one of its own/],
  ];
  for (const [change, message] of cases) {
    const file = sentencePieceFile(characters, words);
    change(file);
    assert.throws(() => tokenizerFromJson(file, "a.json"), (error: unknown) => {
      assert(error instanceof TokenizerFormatError, String(error));
      assert.match(error.message, message);
      return true;
    });
  }
  const byteLevel: [change: (file: Json) => void, message: RegExp][] = [
    [(f) => f.normalizer = { type: "NFD" }, /normalizer\.type: expected "NFC" but got "NFD"$/],
    [
      (f) => f.pre_tokenizer.pretokenizers[0].pattern.Regex = "a+",
      /Regex: expected that of a known model but got /,
    ],
    [
      (f) => f.pre_tokenizer.pretokenizers[1].add_prefix_space = true,
      /add_prefix_space: expected f/,
    ],
    [(f) => {
      delete f.model.vocab[BYTE_CHARACTERS[7]];
      f.model.vocab.ab = 7;
    }, /^tokenizer: model\.vocab: expected a token for the byte 7 but got none$/],
    [(f) => f.model.vocab["日"] = 256, /expected tokens in the alphabet of bytes but got "日"$/],
  ];
  for (const [change, message] of byteLevel) {
    const file = byteLevelFile(BYTE_CHARACTERS, [], [], "gpt4");
    change(file);
    assert.throws(() => tokenizerFromJson(file), (error: unknown) => {
      assert(error instanceof TokenizerFormatError, String(error));
      assert.match(error.message, message);
      return true;
    });
  }
  // The other pattern by its text.
  const file = byteLevelFile(BYTE_CHARACTERS, [], [], "gpt4");
  file.pre_tokenizer.pretokenizers[0].pattern.Regex = GPT2_PATTERN;
  assert.equal(tokenizerFromJson(file).encode("a's").length, 3);
});

Deno.test("loadTokenizerJson() reads a file, and names it when it is wrong", async () => {
  const path = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(path, JSON.stringify(sentencePieceFile(characters, words)));
  assert.equal((await loadTokenizerJson(path)).encode("low").length, 1);
  await Deno.writeTextFile(path, "{");
  await assert.rejects(loadTokenizerJson(path), (error: unknown) => {
    assert(error instanceof TokenizerFormatError);
    assert(error.message.startsWith(`${path}: expected JSON`));
    return true;
  });
  await Deno.remove(path);
});
