/** Made-up corpora for the tests of preparing, and what comes of them when nothing is done at the same time. */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { parquetWriteBuffer } from "npm:hyparquet-writer@0.17.0";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";

const WORDS =
  "the whale sea 海 ship's 2024 don't of\u00a0a\u3000captain naïve 🐋 it's <|endoftext|> 1,000 \n\t and"
    .split(/ /);

/** `count` made-up documents with all that is awkward in texts, the same for the same seed. */
export function madeUpDocuments(count: number, seed = 1, words = 40): string[] {
  let state = seed;
  const next = (n: number) => (state = state * 48271 % 2147483647) % n;
  return Array.from({ length: count }, (_, i) => {
    if (i % 17 === 5) return "";
    const length = 1 + next(words) + (i % 13 === 0 ? 10 * words : 0);
    const text = Array.from({ length }, () => WORDS[next(WORDS.length)]).join(" ");
    return i % 11 === 3 ? `\uFEFF ${text}\r\n ` : text;
  });
}

/** A parquet file of texts, with another column and some rows without a text. */
export function parquetOf(
  documents: readonly (string | null)[],
  options: {
    codec?: "SNAPPY" | "ZSTD" | "GZIP" | "UNCOMPRESSED";
    rowGroupSize?: number;
    pageSize?: number;
  } = {},
): Uint8Array<ArrayBuffer> {
  const { codec = "SNAPPY", rowGroupSize = 100, pageSize = 2000 } = options;
  return new Uint8Array(parquetWriteBuffer({
    columnData: [
      { name: "id", data: documents.map((_, i) => i), type: "INT32" },
      { name: "text", data: [...documents], type: "STRING" },
    ],
    ...{ codec, rowGroupSize, pageSize },
    compressors: {
      ZSTD: (bytes) => new Uint8Array(zstdCompressSync(bytes)),
      GZIP: (bytes) => new Uint8Array(gzipSync(bytes)),
    },
  }));
}

const tokenizer = new GPT2Tokenizer();

/** The tokens of documents, one after the other on one thread. */
export function straight(documents: readonly string[]): number[] {
  return documents.flatMap((text) => [50256, ...tokenizer.encodeOrdinary(text)]);
}
