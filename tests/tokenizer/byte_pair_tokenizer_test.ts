import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  type BytePairProgress,
  BytePairTokenizer,
} from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT2_PATTERN, GPT4_PATTERN, type PatternName } from "../../src/tokenizer/splitter.ts";
import { SpecialTokenError } from "../../src/tokenizer/tokenizer.ts";
import { mobyDick, randomText, realTexts, seededRandom } from "./texts.ts";
import { assertSame } from "../support/compare.ts";

type Merge = readonly [number, number];

/** Words as their bytes, and how often each stands in the texts, by the regular expression. */
function countWords(texts: string[], pattern: PatternName): { ids: number[]; count: number }[] {
  const source = pattern === "gpt2" ? GPT2_PATTERN : GPT4_PATTERN;
  const words = new Map<string, number>();
  for (const text of texts) {
    for (const word of text.match(new RegExp(source, "gu")) ?? []) {
      words.set(word, (words.get(word) ?? 0) + 1);
    }
  }
  return [...words].map(([word, count]) => ({ ids: [...new TextEncoder().encode(word)], count }));
}

function applyMerge(ids: number[], [left, right]: Merge, id: number): number[] {
  const merged: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && i + 1 < ids.length && ids[i + 1] === right) {
      merged.push(id);
      i++;
    } else merged.push(ids[i]);
  }
  return merged;
}

/** The trainer as one would write it down first: count everything again before every merge. */
function trainNaively(
  texts: string[],
  merges: number,
  pattern: PatternName,
  ties: "lowest" | "first" = "lowest",
): Merge[] {
  const words = countWords(texts, pattern);
  const found: Merge[] = [];
  while (found.length < merges) {
    const counts = new Map<number, number>();
    for (const { ids, count } of words) {
      for (let i = 0; i + 1 < ids.length; i++) {
        const key = ids[i] * 2 ** 20 + ids[i + 1];
        counts.set(key, (counts.get(key) ?? 0) + count);
      }
    }
    if (counts.size === 0) break;
    const most = Math.max(...counts.values());
    // In the order of the text; the lowest key has the lowest left id and of those the lowest right one.
    const equals = [...counts.keys()].filter((key) => counts.get(key) === most);
    const key = ties === "first" ? equals[0]! : Math.min(...equals);
    const pair: Merge = [Math.floor(key / 2 ** 20), key % 2 ** 20];
    for (const word of words) word.ids = applyMerge(word.ids, pair, 256 + found.length);
    found.push(pair);
  }
  return found;
}

Deno.test("BytePairTokenizer.train() finds the naive trainer's merges when trained on a book", async () => {
  const text = (await mobyDick()).slice(0, 30_000);
  for (const pattern of ["gpt4", "gpt2"] as const) {
    for (const ties of ["lowest", "first"] as const) {
      const tokenizer = BytePairTokenizer.train(text, { merges: 150, pattern, ties });
      assertSame(tokenizer.merges, trainNaively([text], 150, pattern, ties));
      assert.equal(tokenizer.vocabSize, 256 + 150);
    }
  }
});

Deno.test("BytePairTokenizer.train() finds the naive trainer's merges when tokens overlap", () => {
  const random = seededRandom(9);
  for (let round = 0; round < 60; round++) {
    const texts = Array.from(
      { length: 3 },
      () => Array.from({ length: 60 }, () => "aab "[Math.floor(random() * 4)]).join(""),
    );
    for (const ties of ["lowest", "first"] as const) {
      const { merges } = BytePairTokenizer.train(texts, { merges: 40, ties });
      assert.deepEqual(merges, trainNaively(texts, 40, "gpt4", ties), JSON.stringify(texts));
    }
  }
});

Deno.test("BytePairTokenizer.train() finds the merges of the Python trainer, or the naive one's", async () => {
  const [{ name, text }] = await realTexts();
  if (name === "shakespeare.txt") {
    // Written by shared/peers/bpe_train.py for this text, 500 merges and GPT-2's pattern.
    const { merges } = BytePairTokenizer.train(text, { merges: 500, pattern: "gpt2" });
    const json = `[${merges.map(([left, right]) => `[${left}, ${right}]`).join(", ")}]`;
    const digest = createHash("sha256").update(json).digest("hex");
    assert.equal(digest.slice(0, 12), "30fd309fd533");
    // The last line of the specification's log: `BPE Merge 500/500: freq=211 (663, 334) -> 755`.
    let last: BytePairProgress | undefined;
    BytePairTokenizer.train(text, { merges: 500, ties: "first", onProgress: (now) => last = now });
    assert.deepEqual([last!.count, last!.pair, last!.id], [211, [663, 334], 755]);
  } else {
    const part = text.slice(50_000, 80_000);
    const { merges } = BytePairTokenizer.train(part, { merges: 50 });
    assert.deepEqual(merges, trainNaively([part], 50, "gpt4"), name);
  }
});

Deno.test("BytePairTokenizer.train() takes the lowest ids, or the first, of pairs equally often", () => {
  const train = (ties: "lowest" | "first") =>
    BytePairTokenizer.train("dc ab ac cd", { merges: 2, pattern: "gpt2", ties }).merges;
  // " a" stands twice; then all pairs stand once, but "a" is in the merge now.
  assert.deepEqual(train("lowest"), [[32, 97], [32, 99]]);
  assert.deepEqual(train("first"), [[32, 97], [100, 99]]);
  const wrong = "last" as "first";
  assert.throws(() => train(wrong), /expected ties "lowest" or "first" but got "last"/);
});

Deno.test("BytePairTokenizer.encode() applies the merges in order when text is random", () => {
  const random = seededRandom(10);
  const training = Array.from({ length: 400 }, () => randomText(random));
  const tokenizer = BytePairTokenizer.train(training, { merges: 400 });
  assert.equal(tokenizer.merges.length, 400);
  for (let i = 0; i < 300; i++) {
    const text = randomText(random).replaceAll(/[\u0085\ufeff]/g, "");
    const expected = (text.match(new RegExp(GPT4_PATTERN, "gu")) ?? []).flatMap((word) => {
      let ids = [...new TextEncoder().encode(word)];
      tokenizer.merges.forEach((merge, rank) => ids = applyMerge(ids, merge, 256 + rank));
      return ids;
    });
    assert.deepEqual([...tokenizer.encode(text)], expected, JSON.stringify(text));
  }
});

Deno.test("BytePairTokenizer.decode() gives the text back when it is any Unicode", async () => {
  const tokenizer = BytePairTokenizer.train((await mobyDick()).slice(0, 100_000), { merges: 300 });
  const random = seededRandom(11);
  for (let i = 0; i < 3000; i++) {
    const text = randomText(random);
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
  for (const { text, name } of await realTexts()) {
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text, name);
  }
});

Deno.test("BytePairTokenizer.encode() does as before when words exceed the short merge", () => {
  const tokenizer = BytePairTokenizer.train("aabaabaaab".repeat(50), { merges: 12 });
  const random = seededRandom(12);
  for (const length of [47, 48, 49, 200]) {
    const text = Array.from({ length }, () => "ab"[Math.floor(random() * 2)]).join("");
    let ids = [...new TextEncoder().encode(text)];
    tokenizer.merges.forEach((merge, rank) => ids = applyMerge(ids, merge, 256 + rank));
    assertSame([...tokenizer.encode(text)], ids);
  }
});

Deno.test("BytePairTokenizer.train() makes the vocabulary asked for when given its size", () => {
  const options = { vocabSize: 262, specialTokens: ["<|a|>", "<|b|>"] };
  const tokenizer = BytePairTokenizer.train("low lower lowest", options);
  assert.equal(tokenizer.vocabSize, 262);
  assert.equal(tokenizer.merges.length, 4);
  assert.deepEqual([...tokenizer.specialTokens], [["<|a|>", 260], ["<|b|>", 261]]);
});

Deno.test("BytePairTokenizer.train() stops early when pairs run out", () => {
  assert.deepEqual(BytePairTokenizer.train("abc", { merges: 1000 }).merges, [[97, 98], [256, 99]]);
  assert.deepEqual(BytePairTokenizer.train("", { merges: 10 }).merges, []);
  const rare = BytePairTokenizer.train("ab ab cd", { merges: 10, minFrequency: 2 });
  assert.deepEqual(rare.merges, [[97, 98]]);
});

Deno.test("BytePairTokenizer.train() keeps tokens short when a text is one letter", () => {
  const { merges, vocabSize } = BytePairTokenizer.train("a".repeat(100_000), { merges: 50 });
  assert(merges.length >= 10);
  const longest = BytePairTokenizer.train("a".repeat(100_000), { merges: 50 }).decodeBytes(
    [vocabSize - 1],
  ).length;
  assert(longest <= 1024, `${longest} bytes`);
});

Deno.test("BytePairTokenizer.train() counts no pair across texts or special tokens", () => {
  assert.deepEqual(BytePairTokenizer.train(["a", "b"], { merges: 5 }).merges, []);
  const specialTokens = ["<|endoftext|>"];
  const text = "a<|endoftext|>b";
  assert.deepEqual(BytePairTokenizer.train(text, { merges: 5, specialTokens }).merges, []);
});

Deno.test("BytePairTokenizer.train() reports every merge when asked", () => {
  const seen: BytePairProgress[] = [];
  BytePairTokenizer.train("aa ab ab", { merges: 2, onProgress: (merge) => seen.push(merge) });
  assert.deepEqual(seen, [
    { merge: 1, merges: 2, id: 256, pair: [32, 97], count: 2, bytes: Uint8Array.of(32, 97) },
    { merge: 2, merges: 2, id: 257, pair: [256, 98], count: 2, bytes: Uint8Array.of(32, 97, 98) },
  ]);
});

Deno.test("BytePairTokenizer.encode() finds all special tokens after one was listed twice", () => {
  const tokenizer = BytePairTokenizer.train("", { merges: 0, specialTokens: ["<a>", "<b>"] });
  tokenizer.encode("c", { disallowedSpecial: ["<a>", "<a>"] });
  assert.throws(() => tokenizer.encode("<a>", { disallowedSpecial: ["<a>", "<a>"] }));
  assert.deepEqual([...tokenizer.encode("<b>", { allowedSpecial: "all" })], [257]);
});

Deno.test("BytePairTokenizer.encode() takes the longer special token when both fit", () => {
  const specialTokens = ["<|a|>", "<|a|>b", "(.*)"];
  const tokenizer = BytePairTokenizer.train("", { merges: 0, specialTokens });
  const encode = (text: string, allowed: "all" | string[]): number[] => [
    ...tokenizer.encode(text, { allowedSpecial: allowed, disallowedSpecial: [] }),
  ];
  assert.deepEqual(encode("<|a|>b<|a|>c(.*)", "all"), [257, 256, 99, 258]);
  assert.deepEqual(encode("<|a|>b", ["<|a|>"]), [256, 98]);
  assert.deepEqual(encode("(.*)", ["<|a|>"]), [40, 46, 42, 41]);
  assert.throws(() => tokenizer.encode("x(.*)"), SpecialTokenError);
});

Deno.test("BytePairTokenizer.train() throws when options are wrong", () => {
  const train = (options: Parameters<typeof BytePairTokenizer.train>[1]) => () =>
    BytePairTokenizer.train("abc", options);
  assert.throws(
    train({}),
    new TypeError("train: expected either vocabSize or merges but got neither"),
  );
  assert.throws(train({ merges: 1, vocabSize: 300 }), TypeError);
  for (const merges of [-1, 1.5, NaN, 1e12]) {
    assert.throws(
      train({ merges }),
      new RegExp(`^RangeError: train: expected an integer merges from 0 .* but got ${merges}$`),
    );
  }
  assert.throws(
    train({ vocabSize: 256, specialTokens: ["x"] }),
    /train: expected an integer vocabSize from 257 to .* but got 256/,
  );
  assert.throws(
    train({ merges: 1, minFrequency: 0 }),
    /train: expected minFrequency of 1 or more but got 0/,
  );
  assert.throws(
    train({ merges: 1, pattern: "toString" as "gpt2" }),
    /train: expected pattern "gpt2" or "gpt4" or .* but got "toString"/,
  );
  assert.throws(
    train({ merges: 1, specialTokens: [""] }),
    /specialTokens\[0\]: expected .* but got ""/,
  );
  assert.throws(
    train({ merges: 1, specialTokens: ["a", "a"] }),
    /specialTokens\[1\]: expected each special token once but got "a" twice/,
  );
  assert.throws(train({ merges: 1, specialTokens: ["\ud800"] }), /got "\\ud800"/);
});
