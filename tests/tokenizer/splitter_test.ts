import assert from "node:assert/strict";
import { Tiktoken } from "npm:tiktoken@1.0.22";
import { BYTE_CHARACTERS } from "../../src/tokenizer/vocabulary.ts";
import { byteLevelJson } from "../../src/tokenizer/tokenizer_json_fields.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import {
  GPT2_PATTERN,
  GPT4_PATTERN,
  GPT4O_PATTERN,
  type PatternName,
  QWEN2_PATTERN,
  splitGPT2,
  splitGPT4,
  splitQwen2,
  splitSmolLM,
  splitterOf,
  TEKKEN_PATTERN,
} from "../../src/tokenizer/splitter.ts";
import { randomText, realTexts, seededRandom } from "./texts.ts";

/** The pattern with `\s` as Unicode's White_Space, which JavaScript's is not. */
function regExpOf(pattern: string): RegExp {
  const source = pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll(
    "\\S",
    "\\P{White_Space}",
  );
  return new RegExp(source, "gu");
}

function wordsOf(pattern: PatternName, text: string): string[] {
  const split = splitterOf(pattern, text);
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
  const words: string[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = split(bytes, start, bytes.length);
    assert(end > start && end <= bytes.length);
    words.push(decoder.decode(bytes.subarray(start, end)));
    start = end;
  }
  return words;
}

const PATTERNS = {
  gpt2: GPT2_PATTERN,
  gpt4: GPT4_PATTERN,
  qwen2: QWEN2_PATTERN,
  tekken: TEKKEN_PATTERN,
  gpt4o: GPT4O_PATTERN,
} as const;

for (const [pattern, regex] of Object.entries(PATTERNS) as [PatternName, string][]) {
  const name = `splitterOf("${pattern}")`;
  Deno.test(`${name} cuts as its pattern does when text is random Unicode`, () => {
    const random = seededRandom(5);
    const regExp = regExpOf(regex);
    for (let i = 0; i < 5000; i++) {
      const text = randomText(random);
      assert.deepEqual(wordsOf(pattern, text), text.match(regExp) ?? [], JSON.stringify(text));
    }
  });

  Deno.test(`${name} cuts as its pattern does when text is real`, async () => {
    for (const { name, text } of await realTexts()) {
      const part = text.slice(0, 200_000);
      assert.deepEqual(wordsOf(pattern, part), part.match(regExpOf(regex)), name);
    }
  });

  Deno.test(`${name} cuts as tiktoken does when every two bytes are a token`, () => {
    // Tokens of any two bytes make the cuts visible in tiktoken's ids, whatever the characters.
    const merges: string[] = [];
    const vocab = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
    const ranks: string[] = [];
    for (let byte = 0; byte < 256; byte++) ranks.push(btoa(String.fromCharCode(byte)));
    for (let left = 0; left < 256; left++) {
      for (let right = 0; right < 256; right++) {
        const pair = [BYTE_CHARACTERS[left], BYTE_CHARACTERS[right]];
        merges.push(pair.join(" "));
        vocab.set(pair.join(""), vocab.size);
        ranks.push(btoa(String.fromCharCode(left, right)));
      }
    }
    const oracle = new Tiktoken(`! 0 ${ranks.join(" ")}`, {}, regex);
    const none = new Map<string, number>();
    const tokenizer = BytePairTokenizer.fromJSON(byteLevelJson({
      ...{ pattern, vocab, merges, nfc: false, ignoreMerges: false, special: none, added: none },
      ...{ strip: new Map(), prefix: [], suffix: [] },
    }));
    const random = seededRandom(6);
    for (let i = 0; i < 1500; i++) {
      const text = randomText(random);
      const expected = oracle.encode(text);
      const actual = tokenizer.encode(text);
      const same = actual.length === expected.length && actual.every((id, j) => id === expected[j]);
      if (!same) assert.deepEqual([...actual], [...expected], JSON.stringify(text));
    }
    oracle.free();
  });
}

for (const split of [splitGPT2, splitGPT4, splitQwen2, splitSmolLM]) {
  Deno.test(`${split.name}() looks at nothing past the end when there is more`, () => {
    const encoder = new TextEncoder();
    for (const [part, rest] of [["'r", "e"], ["'l", "l"], ["ab", "c"], [" ", "a"], ["12", "3"]]) {
      const bytes = encoder.encode(part + rest);
      const alone = encoder.encode(part);
      assert.equal(split(bytes, 0, alone.length), split(alone, 0, alone.length), part);
    }
  });
}
