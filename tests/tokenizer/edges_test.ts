// The longest tokens, the token with the id 0, and spaces at the beginning.
import assert from "node:assert/strict";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { TextVocabulary } from "../../src/tokenizer/text_vocabulary.ts";
import { continuationText } from "../../src/tokenizer/tokenizer.ts";
import { tokenizerFromJson } from "../../src/tokenizer/tokenizer_json.ts";
import { cleanSentence, parseSentencePairs } from "../../src/data/translation_pairs.ts";

/** The rule of byte pair encoding as it is written: of all neighbours the two that make the lowest id, until none do. */
function byTheRule(text: string, ids: ReadonlyMap<string, number>): number[] {
  let parts = [...text];
  for (;;) {
    const found = parts.slice(1).map((right, i) => ids.get(parts[i] + right) ?? Infinity);
    const best = Math.min(...found);
    if (!(best < Infinity)) return parts.map((part) => ids.get(part)!);
    const at = found.indexOf(best);
    parts = parts.toSpliced(at, 2, parts[at] + parts[at + 1]);
  }
}

Deno.test("GPT2Tokenizer takes its longest tokens, alone and at the beginning of longer words", () => {
  const tokenizer = new GPT2Tokenizer();
  const ids = new Map<string, number>();
  for (let id = 0; id < tokenizer.endOfText; id++) {
    ids.set(String.fromCharCode(...tokenizer.decodeBytes([id])), id);
  }
  // Bytes of a text without white space: of two of them in a row GPT-2's pattern makes one word.
  const utf8 = new TextDecoder();
  const bytesOf = (token: string) => Uint8Array.from(token, (byte) => byte.charCodeAt(0));
  const words = [...ids.keys()].filter((token) =>
    /^(\p{L}+|[^\s\p{L}\p{N}'\ufffd]+)$/u.test(utf8.decode(bytesOf(token)))
  );
  const longest = words.toSorted((a, b) => b.length - a.length).slice(0, 6);
  assert.equal(longest[0].length, 128);
  const encode = (bytes: string) => [...tokenizer.encodeOrdinary(utf8.decode(bytesOf(bytes)))];
  for (const token of longest) {
    assert.deepEqual(encode(token), [ids.get(token)]);
    const half = token.slice(0, token.length / 2);
    for (const word of [token + token, token + half, half + token]) {
      assert.deepEqual(encode(word), byTheRule(word, ids), word);
    }
  }
});

Deno.test("BytePairTokenizer.train() makes tokens of 1,024 bytes, and none beyond", () => {
  const tokenizer = BytePairTokenizer.train("a".repeat(16_384), { merges: 14 });
  const lengths = tokenizer.merges.map((_, i) => tokenizer.decodeBytes([256 + i]).length);
  assert.equal(Math.max(...lengths), 1024);
  assert.deepEqual(lengths.slice(0, 10), [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
});

/** A file of SentencePiece's kind whose id 0 is a character. */
function sentencePiece(preTokenizer: Record<string, unknown>): Record<string, unknown> {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const tokens = ["a", "▁", "b", "▁a", ...bytes];
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", split: false, ...preTokenizer },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: "▁" },
    model: {
      ...{ type: "BPE", byte_fallback: true },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [["▁", "a"]],
    },
  };
}

Deno.test("SentencePieceTokenizer knows the character with the id 0, and bytes of control characters", () => {
  const tokenizer = tokenizerFromJson(sentencePiece({ prepend_scheme: "never" }));
  assert.deepEqual([...tokenizer.encode("aba")], [0, 2, 0]);
  assert.deepEqual([...tokenizer.encode("\n\u00e9")], [0x0a, 0xc3, 0xa9].map((byte) => 4 + byte));
  assert.equal(tokenizer.decode([4 + 0x0a, 4 + 0xc3, 4 + 0xa9]), "\n\u00e9");
});

Deno.test("SentencePieceTokenizer takes away the space that it put there, and only that one", () => {
  for (
    const [fields, ids, isPut] of [
      [{ prepend_scheme: "always" }, [3], true],
      [{ prepend_scheme: "never" }, [0], false],
      [{ add_prefix_space: true }, [3], true],
      [{ add_prefix_space: false }, [0], false],
      [{}, [3], true],
    ] as const
  ) {
    const tokenizer = tokenizerFromJson(sentencePiece(fields));
    const which = JSON.stringify(fields);
    assert.deepEqual([...tokenizer.encode("a")], ids, which);
    assert.equal(tokenizer.decode(tokenizer.encode("a")), "a", which);
    assert.equal(tokenizer.decode([3, 3]), isPut ? "a a" : " a a", which);
    assert.equal(tokenizer.decode([1, 3]), isPut ? " a" : "  a", which);
    assert.equal(continuationText(tokenizer, [3]), " a", which);
  }
});

Deno.test("TextVocabulary.unknownShare() counts every occurrence of an unknown word", () => {
  const vocabulary = TextVocabulary.fromSentences(["a b c"]);
  assert.equal(vocabulary.unknownShare(["x x x a", "x y b b"]), 5 / 8);
});

Deno.test("sentence pairs lose a byte order mark, and only the four marks become words", () => {
  assert.deepEqual(parseSentencePairs("\ufeffGo.\tVa !\n", "pairs.txt"), [
    { source: "Go.", target: "Va !" },
  ]);
  assert.equal(parseSentencePairs("\ufeff\na\tb", "pairs.txt").length, 1);
  assert.throws(() => parseSentencePairs("a\tb\n\nc\n", "pairs.txt"), /line 3/);
  assert.equal(cleanSentence('Oui; non: "si", (ou).'), 'oui; non: "si" , (ou) .');
  assert.equal(cleanSentence("Quoi\u00a0? ...!"), "quoi ? . . . !");
});
