// llama2.c's tokenizer.bin, by a small vocabulary made here.
import assert from "node:assert/strict";
import { FileFormatError } from "../../src/io/errors.ts";
import {
  type Llama2cToken,
  loadLlama2cTokenizer,
  readLlama2cTokens,
  writeLlama2cTokens,
} from "../../src/tokenizer/sentencepiece_bin.ts";
import { loadTokenizerJson } from "../../src/tokenizer/tokenizer_json.ts";

const byteName = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

/** What llama2.c's tokenizer.py would export of a SentencePiece model. */
function vocabulary(byteText: (byte: number) => string): Llama2cToken[] {
  return [
    ...["<unk>", "\n<s>\n", "\n</s>\n"].map((text) => ({ text, score: 0 })),
    ...Array.from({ length: 256 }, (_, byte) => ({ text: byteText(byte), score: 0 })),
    ...["lo", " low", "er", "low", " ", "l", "o", "w", "e", "r", "."]
      .map((text, i) => ({ text, score: -i })),
  ];
}

async function withFile(
  tokens: readonly Llama2cToken[],
  body: (path: string) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".bin" });
  try {
    await writeLlama2cTokens(path, tokens);
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("readLlama2cTokens() gives what writeLlama2cTokens() wrote, bit by bit", () =>
  withFile(vocabulary(byteName), async (path) => {
    const tokens = await readLlama2cTokens(path);
    assert.deepEqual(tokens, vocabulary(byteName));
    const bytes = await Deno.readFile(path);
    await writeLlama2cTokens(path, tokens);
    assert.deepEqual(await Deno.readFile(path), bytes);
    // The longest token, then score, length and bytes of "<unk>".
    assert.deepEqual([...bytes.subarray(0, 4)], [6, 0, 0, 0]);
    assert.deepEqual([...bytes.subarray(4, 17)], [
      0,
      0,
      0,
      0,
      5,
      0,
      0,
      0,
      ...[..."<unk>"].map((c) => c.charCodeAt(0)),
    ]);
  }));

for (
  const [kind, byteText] of [
    ["bytes by name", byteName],
    ["bytes as characters", String.fromCharCode],
  ] as const
) {
  Deno.test(`loadLlama2cTokenizer() merges into the highest score first (${kind})`, () =>
    withFile(vocabulary(byteText), async (path) => {
      const tokenizer = await loadLlama2cTokenizer(path);
      assert.deepEqual([...tokenizer.specialTokens], [["<unk>", 0], ["<s>", 1], ["</s>", 2]]);
      assert.deepEqual(tokenizer.prefix, [1]);
      const id = (text: string) =>
        259 + vocabulary(byteName).slice(259).findIndex((t) => t.text === text);
      const cases: [text: string, ids: number[]][] = [
        // "lo" first, then "low", which " low" needs; "er" does not touch them.
        ["lower", [id(" low"), id("er")]],
        [" low.", [id(" "), id(" low"), id(".")]],
        ["é\n", [id(" "), 3 + 0xc3, 3 + 0xa9, 3 + 10]],
        ["lol", [id(" "), id("lo"), id("l")]],
      ];
      for (const [text, ids] of cases) {
        assert.deepEqual([...tokenizer.encode(text)], ids, text);
        assert.equal(tokenizer.decode(ids), text);
      }
      // What is saved as tokenizer.json reads as the same.
      const json = `${path}.json`;
      await tokenizer.save(json);
      const copy = await loadTokenizerJson(json);
      await Deno.remove(json);
      assert.deepEqual(copy.prefix, [1]);
      for (const [text, ids] of cases) assert.deepEqual([...copy.encode(text)], ids, text);
    }));
}

Deno.test("loadLlama2cTokenizer() takes two tokens of the same text, which no tokenizer.json has", () =>
  withFile([...vocabulary(byteName), { text: "lo", score: -20 }], async (path) => {
    const tokenizer = await loadLlama2cTokenizer(path);
    assert.equal(tokenizer.decode([tokenizer.vocabSize - 1]), "lo");
    await assert.rejects(tokenizer.save(`${path}.json`), /expected one id for each text/);
  }));

Deno.test("loadLlama2cTokenizer() refuses what is no vocabulary", () =>
  withFile(vocabulary(byteName), async (path) => {
    const good = await Deno.readFile(path);
    const change = (at: number, ...bytes: number[]) => {
      const copy = good.slice();
      copy.set(bytes, at);
      return copy;
    };
    const cases: [bytes: Uint8Array, message: RegExp][] = [
      [good.subarray(0, 3), /of 4 bytes or more but got 3 \(at byte 3\)$/],
      [good.subarray(0, 10), /expected a score and a length but got 6 bytes \(at byte 4\)$/],
      [good.subarray(0, 14), /expected a token of 5 bytes but got 2 \(at byte 12\)$/],
      [
        change(8, 255, 255, 255, 127),
        /expected a token of at most 6 bytes but got 2147483647 \(at/,
      ],
      [change(8, 255, 255, 255, 255), /of at most 6 bytes but got -1/],
      [change(12, 0xff), /token 0: expected UTF-8 but got other bytes \(at byte 12\)$/],
      [change(13, 0x61), /expected token 0 to be <unk> but got "<ank>" \(at byte 4\)$/],
      [good.subarray(0, 17), /expected token 1 to be <s> but got nothing \(at byte 17\)$/],
      [good.subarray(0, 44), /expected a token <0x00> but got none \(at byte 4\)$/],
    ];
    for (const [bytes, message] of cases) {
      await assert.rejects(loadLlama2cTokenizer(bytes as Uint8Array), (error: unknown) => {
        assert(error instanceof FileFormatError, String(error));
        assert.match(error.message, message);
        return true;
      });
    }
    await assert.rejects(
      writeLlama2cTokens(path, [{ text: "a".repeat(257), score: 0 }]),
      /expected tokens of at most 256 bytes but got 257$/,
    );
  }));
