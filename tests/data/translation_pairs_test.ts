import assert from "node:assert/strict";
import { join } from "node:path";
import { TextReader, Uint8ArrayWriter, ZipWriter } from "npm:@zip.js/zip.js@2.24.0";
import { loadEnglishFrench } from "../../data/english_french.ts";
import {
  cleanPair,
  cleanSentence,
  parseSentencePairs,
  readSentencePairs,
} from "../../src/data/translation_pairs.ts";
import { shuffledOrder } from "../../src/data/shuffled_order.ts";
import { fittingPairs, TranslationRows } from "../../src/data/translation_rows.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { TextVocabulary } from "../../src/tokenizer/text_vocabulary.ts";

const text = "Sit here.\tAssieds-toi ici.\tCC-BY 2.0 (France) #1 & #2\nWhy?\tPourquoi\u202f?\n";
const pairs = [
  { source: "sit here .", target: "assieds-toi ici ." },
  { source: "why ?", target: "pourquoi ?" },
];

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function zipOf(files: Record<string, string>): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  for (const [name, content] of Object.entries(files)) {
    await writer.add(name, new TextReader(content));
  }
  return await writer.close();
}

const archive = await zipOf({ "_about.txt": "about", "fra.txt": text });

Deno.test("cleanSentence() makes words of , . ! ? and keeps hyphens and apostrophes", () => {
  for (
    const [sentence, expected] of [
      ["Go.", "go ."],
      ["Qu'est-ce que c'est\u202f?", "qu'est-ce que c'est ?"],
      ["Ça alors\u00a0!", "ça alors !"],
      ["Non, merci.", "non , merci ."],
      ["Quoi ?!", "quoi ? !"],
      ["Well...", "well . . ."],
      [". a", ". a"],
      ["3,000 francs", "3 , 000 francs"],
      ["Oui,non ,peut-être , si.", "oui , non , peut-être , si ."],
      ["", ""],
    ]
  ) assert.equal(cleanSentence(sentence), expected);
});

Deno.test("parseSentencePairs() reads two columns and leaves the others", () => {
  assert.deepEqual(parseSentencePairs(text, "a.txt").map(cleanPair), pairs);
  const windows = "\uFEFF" + text.replaceAll("\n", "\r\n");
  assert.deepEqual(parseSentencePairs(windows, "a.txt").map(cleanPair), pairs);
  assert.deepEqual(parseSentencePairs("", "a.txt"), []);
});

Deno.test("parseSentencePairs() names the file and the line that is malformed", () => {
  const expected = "a.txt: line 3: expected two sentences with a tab between them but got ";
  for (
    const [line, found] of [
      ["Go. Va !", "no tab"],
      ["Go.\t", "an empty second sentence"],
      ["\tVa !", "an empty first sentence"],
      [" \t \tlicence", "an empty first sentence"],
      [" ", "no tab"],
    ]
  ) {
    assert.throws(
      () => parseSentencePairs(`${text}${line}\n`, "a.txt"),
      (error: Error) => error instanceof FileFormatError && error.message === expected + found,
    );
  }
});

Deno.test("readSentencePairs() reads a text file and a zip archive", () =>
  inFolder(async (folder) => {
    const path = (name: string) => join(folder, name);
    await Deno.writeTextFile(path("fra.txt"), text);
    await Deno.writeFile(path("fra.zip"), archive);
    assert.deepEqual((await readSentencePairs(path("fra.txt"))).map(cleanPair), pairs);
    assert.deepEqual((await readSentencePairs(path("fra.zip"))).map(cleanPair), pairs);
  }));

Deno.test("readSentencePairs() refuses what is no file of pairs", () =>
  inFolder(async (folder) => {
    const corrupted = archive.slice();
    // Past the first entry, in the compressed text of the second.
    const at = new TextDecoder("latin1").decode(archive).indexOf("fra.txt") + 20;
    corrupted[at] ^= 0xff;
    for (
      const [name, content, message] of [
        [
          "cut.zip",
          archive.slice(0, -10),
          /: incomplete zip archive, it may have been cut short/,
        ],
        ["half.zip", archive.slice(0, 100), /: incomplete zip archive/],
        ["empty.zip", new Uint8Array(), /: incomplete zip archive/],
        [
          "page.zip",
          new TextEncoder().encode("<html>".repeat(50)),
          /: incomplete zip archive/,
        ],
        ["corrupted.zip", corrupted, /: incomplete zip archive/],
        [
          "other.zip",
          await zipOf({ "_about.txt": "x", "b/c.md": "" }),
          /but got _about\.txt, b\/c\.md$/,
        ],
        ["line.zip", await zipOf({ "fra.txt": "Go.\n" }), /line\.zip\/fra\.txt: line 1: /],
        [
          "binary.txt",
          Uint8Array.of(0xff, 0xfe, 9),
          /binary\.txt: expected UTF-8 text but got other bytes$/,
        ],
        ["none.txt", new Uint8Array(), /none\.txt: expected sentence pairs but got none$/],
      ] as const
    ) {
      const path = join(folder, name);
      await Deno.writeFile(path, content);
      await assert.rejects(readSentencePairs(path), (error: Error) => {
        assert.ok(error instanceof FileFormatError, `${error}`);
        assert.ok(error.message.startsWith(path), error.message);
        assert.match(error.message, message);
        return true;
      });
    }
  }));

Deno.test("loadEnglishFrench() downloads once and keeps nothing that is wrong", () =>
  inFolder(async (cache) => {
    let answer = archive;
    let requests = 0;
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, () => {
      requests++;
      // As a stream, so that its length is not told and cutting it short goes unnoticed.
      return new Response(new Blob([answer]).stream());
    });
    try {
      const url = `http://127.0.0.1:${server.addr.port}/fra-eng.zip`;
      const options = { url, cache, retries: 0, minBytes: 100 };
      answer = archive.slice(0, -30);
      await assert.rejects(
        loadEnglishFrench(options),
        /fra-eng\.zip: incomplete zip archive/,
      );
      answer = archive;
      const tooSmall = loadEnglishFrench({ url, cache, retries: 0 });
      await assert.rejects(
        tooSmall,
        /fra-eng\.zip: expected at least 2000000 bytes but got 369 from http/,
      );
      assert.deepEqual([...Deno.readDirSync(cache)], []);
      assert.deepEqual(await loadEnglishFrench(options), pairs);
      assert.deepEqual(await loadEnglishFrench(options), pairs);
      assert.equal(requests, 3);
      const path = join(cache, "fra-eng.zip");
      assert.deepEqual(await loadEnglishFrench({ path }), pairs);
    } finally {
      await server.shutdown();
    }
  }));

Deno.test("fittingPairs() drops what <EOS> does not fit behind", () => {
  const fitting = (sourceLength: number, targetLength: number) =>
    fittingPairs(pairs, { sourceLength, targetLength });
  assert.deepEqual(fitting(4, 4), pairs);
  assert.deepEqual(fitting(3, 4), [pairs[1]]);
  assert.deepEqual(fitting(4, 3), [pairs[1]]);
  assert.deepEqual(fitting(2, 2), []);
});

Deno.test("TranslationRows hands out sources, decoder inputs and targets", () => {
  const source = TextVocabulary.fromSentences(pairs.map((pair) => pair.source));
  const target = TextVocabulary.fromSentences(pairs.map((pair) => pair.target));
  const rows = new TranslationRows(pairs, source, target, { sourceLength: 4, targetLength: 5 });
  const [sit, here, dot, why, mark] = ["sit", "here", ".", "why", "?"].map((w) => source.idOf(w));
  const [pourquoi, question] = ["pourquoi", "?"].map((word) => target.idOf(word));
  const batch = rows.batch([1, 0]);
  assert.equal(batch.rows, 2);
  assert.deepEqual([...batch.sourceIds], [why, mark, 3, 0, sit, here, dot, 3]);
  assert.deepEqual([...batch.targets.subarray(0, 5)], [pourquoi, question, 3, 0, 0]);
  assert.deepEqual([...batch.decoderInputIds.subarray(0, 5)], [2, pourquoi, question, 3, 0]);
  assert.deepEqual([...rows.batches(1)].map(({ sourceIds }) => sourceIds[0]), [sit, why]);
  const order = Uint32Array.of(1, 0, 1);
  assert.deepEqual([...rows.batches(2, { order })].map(({ rows }) => rows), [2, 1]);
  const [rest] = rows.batches(2, { order, from: 1 });
  assert.deepEqual([...rest.sourceIds], [why, mark, 3, 0]);
  assert.throws(
    () => rows.batch([2]),
    new RangeError("TranslationRows: expected pairs from 0 to 1 but got 2"),
  );
});

Deno.test("shuffledOrder() is another order of the same numbers in every epoch", () => {
  const orders = [[1, 0], [1, 1], [2, 0]].map(([seed, epoch]) => shuffledOrder(100, seed, epoch));
  const sorted = Array.from(Array(100).keys());
  for (const order of orders) assert.deepEqual([...order.toSorted()], sorted);
  assert.equal(new Set([...orders, sorted].map(String)).size, 4);
  assert.deepEqual(shuffledOrder(100, 1, 0), orders[0]);
  // Every place is taken by every number about equally often.
  const counts = new Uint32Array(4);
  for (let epoch = 0; epoch < 4000; epoch++) counts[shuffledOrder(4, 7, epoch)[0]]++;
  for (const count of counts) assert.ok(Math.abs(count - 1000) < 150, `${counts}`);
});
