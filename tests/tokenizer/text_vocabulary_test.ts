import assert from "node:assert/strict";
import { join } from "node:path";
import { FileFormatError } from "../../src/io/errors.ts";
import { TextVocabulary } from "../../src/tokenizer/text_vocabulary.ts";

const sentences = ["the cat sleeps .", "the dog sleeps .", "  the\tcat   runs . ", ""];

Deno.test("TextVocabulary.fromSentences() orders words by frequency, then by text", () => {
  const vocabulary = TextVocabulary.fromSentences(sentences);
  const words = [".", "the", "cat", "sleeps", "dog", "runs"];
  assert.deepEqual(vocabulary.tokens, ["<PAD>", "<UNK>", "<SOS>", "<EOS>", ...words]);
  assert.equal(vocabulary.size, 10);
  assert.equal(vocabulary.idOf("runs"), 9);
  assert.equal(vocabulary.idOf("flies"), vocabulary.unknownId);
});

Deno.test("TextVocabulary.fromSentences() leaves rare words out and counts them", () => {
  const vocabulary = TextVocabulary.fromSentences(sentences, { minFrequency: 2 });
  assert.deepEqual(vocabulary.tokens.slice(4), [".", "the", "cat", "sleeps"]);
  assert.deepEqual(vocabulary.summary(1), {
    size: 8,
    words: 12,
    distinctWords: 6,
    mostCommon: [[".", 3]],
    unknownShare: 2 / 12,
  });
  assert.equal(vocabulary.unknownShare(["the dog flies .", ""]), 0.5);
  assert.equal(vocabulary.unknownShare([]), 0);
});

Deno.test("TextVocabulary.fromSentences() throws when there is no word to keep", () => {
  assert.throws(() => TextVocabulary.fromSentences(["", "  "]), /but got none of 0/);
  assert.throws(
    () => TextVocabulary.fromSentences(sentences, { minFrequency: 4 }),
    new RangeError("TextVocabulary: expected words of frequency 4 or more but got none of 6"),
  );
  for (const minFrequency of [0, NaN]) {
    assert.throws(() => TextVocabulary.fromSentences(sentences, { minFrequency }), RangeError);
  }
});

Deno.test("TextVocabulary.encode() ends, cuts and pads", () => {
  const vocabulary = TextVocabulary.fromSentences(sentences, { minFrequency: 2 });
  assert.deepEqual([...vocabulary.encode("the cat flies .")], [5, 6, 1, 4, 3]);
  assert.deepEqual([...vocabulary.encode("the cat flies .", 7)], [5, 6, 1, 4, 3, 0, 0]);
  assert.deepEqual([...vocabulary.encode("the cat flies .", 5)], [5, 6, 1, 4, 3]);
  assert.deepEqual([...vocabulary.encode("the cat flies .", 3)], [5, 6, 3]);
  assert.deepEqual([...vocabulary.encode("the", 1)], [3]);
  assert.deepEqual([...vocabulary.encode(" ")], [3]);
  assert.deepEqual([...vocabulary.encode("", 3)], [3, 0, 0]);
  assert.deepEqual([...vocabulary.encodeBatch(["cat", "", "the cat ."], 3)], [
    ...[6, 3, 0],
    ...[3, 0, 0],
    ...[5, 6, 3],
  ]);
  for (const length of [0, 1.5, -1]) {
    assert.throws(() => vocabulary.encode("the", length), RangeError);
    assert.throws(() => vocabulary.encodeBatch([], length), RangeError);
  }
});

Deno.test("TextVocabulary.encode() takes the text of special tokens as unknown words", () => {
  const vocabulary = TextVocabulary.fromSentences(["a <EOS> b <PAD> a"]);
  assert.deepEqual(vocabulary.tokens.slice(4), ["a", "b"]);
  assert.deepEqual([...vocabulary.encode("a <EOS> b")], [4, 1, 5, 3]);
  assert.equal(vocabulary.summary().unknownShare, 2 / 5);
});

Deno.test("TextVocabulary.decode() stops at <EOS> and shows unknown words", () => {
  const vocabulary = TextVocabulary.fromSentences(sentences);
  assert.equal(vocabulary.decode([2, 5, 6, 1, 4, 3, 5, 5]), "the cat <UNK> .");
  assert.equal(vocabulary.decode([]), "");
  assert.equal(vocabulary.decode(vocabulary.encode("the dog runs .", 9)), "the dog runs .");
  const rows = vocabulary.encodeBatch(["the cat", "", "dog runs now"], 4);
  assert.deepEqual(vocabulary.decodeBatch(rows, 4), ["the cat", "", "dog runs <UNK>"]);
  assert.throws(() => vocabulary.decode([10]), /expected ids from 0 to 9 but got 10$/);
  assert.throws(() => vocabulary.decode([-1]), RangeError);
  assert.throws(() => vocabulary.decode([1.5]), RangeError);
  assert.throws(() => vocabulary.decodeBatch(rows, 5), /rows of 5 but got 12$/);
});

Deno.test("TextVocabulary.load() returns what save() wrote", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "vocabulary.json");
    const vocabulary = TextVocabulary.fromSentences(["ça va très bien", "ça va ?"], {
      minFrequency: 2,
      specialTokens: { unknown: "[inconnu]" },
    });
    await vocabulary.save(path);
    const loaded = await TextVocabulary.load(path);
    assert.deepEqual(loaded.tokens, vocabulary.tokens);
    assert.deepEqual(loaded.summary(), vocabulary.summary());
    assert.equal(loaded.decode(loaded.encode("ça va mal")), "ça va [inconnu]");
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["vocabulary.json"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("TextVocabulary.load() names file and field of a malformed file", async () => {
  const json = TextVocabulary.fromSentences(["a b"]).toJSON();
  const path = await Deno.makeTempFile();
  try {
    for (
      const [content, message] of [
        ["{", /: expected JSON: /],
        ["", /: expected JSON: /],
        [[1], /: the file: expected a JSON object but got \[1\]$/],
        [{ ...json, format: "x" }, /: format: expected "dinograd-text-vocabulary" but got "x"$/],
        [{ ...json, version: 2 }, /: version: expected 1 but got 2$/],
        [{ ...json, specialTokens: ["a"] }, /: specialTokens: expected four words/],
        [{ ...json, specialTokens: ["<P>", "<U>", "<P>", "<E>"] }, /specialTokens\[2\]: .* twice/],
        [{ ...json, words: undefined }, /: words: expected a list .* but got nothing$/],
        [{ ...json, words: [] }, /: words: expected one word or more/],
        [{ ...json, words: [["a", 1], ["b"]] }, /: words\[1\]: expected a word and its count/],
        [{ ...json, words: [["a", 1], ["b", -1]] }, /: words\[1\]: expected a word and its count/],
        [{ ...json, words: [["a b", 1]] }, /: words\[0\]: expected a word without white space/],
        [{ ...json, words: [["a", 1], ["a", 1]] }, /: words\[1\]: expected no word twice/],
        [{ ...json, words: [["<EOS>", 1]] }, /: words\[0\]: expected no word twice/],
        [{ ...json, unknown: { distinct: 1 } }, /: unknown: expected two counts/],
      ] as const
    ) {
      const text = typeof content === "string" ? content : JSON.stringify(content);
      await Deno.writeTextFile(path, text);
      await assert.rejects(TextVocabulary.load(path), (error: Error) => {
        assert.ok(error instanceof FileFormatError);
        assert.ok(error.message.startsWith(path));
        assert.match(error.message, message);
        return true;
      });
    }
  } finally {
    await Deno.remove(path);
  }
});
