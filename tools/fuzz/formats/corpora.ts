/**
 * Files of texts: parquet, JSONL, zip archives of sentence pairs.
 *
 * @module
 */
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { PYARROW_FILES } from "./parquet_files.ts";
import { type Encoding, parquetWriteBuffer } from "./parquet_writer.ts";
import { parseJsonLines, textField } from "../../../src/data/jsonl.ts";
import { ParquetTexts } from "../../../src/data/parquet.ts";
import { readPieces } from "../../../src/data/prepare/chunks.ts";
import { cutAtLine } from "../../../src/data/prepare/cuts.ts";
import { readSentencePairs } from "../../../src/data/translation_pairs.ts";
import { type Format, holds } from "../format.ts";
import { mutateBytes, mutateJsonText } from "../mutations.ts";
import type { Chance } from "../random.ts";
import { zipOf } from "./zip_writer.ts";

/** Files of Apache Parquet with texts. */
export const parquet: Format = {
  name: "parquet",
  place: /\bbytes? -?\d+|row group \d+|column "/,
  allowance: 96 << 20, // 2^20 rows of a page may be named by a few bytes
  prepare(folder) {
    const texts = Array.from(
      { length: 60 },
      (_, i) => i % 9 === 4 ? null : `text ${i % 7} é`.repeat(i % 5),
    );
    const seeds: Uint8Array[] = [];
    for (const codec of ["UNCOMPRESSED", "UNCOMPRESSED", "SNAPPY", "ZSTD", "GZIP"] as const) {
      for (
        const encoding of [
          undefined,
          "PLAIN",
          "DELTA_LENGTH_BYTE_ARRAY",
          "DELTA_BYTE_ARRAY",
        ] as const
      ) {
        seeds.push(parquetOf(texts, codec, encoding));
      }
    }
    seeds.push(parquetOf(texts.map((text) => text ?? ""), "UNCOMPRESSED", undefined));
    seeds.push(...PYARROW_FILES.map(({ bytes }) => bytes));
    const file = join(folder, "fuzz.parquet");
    return Promise.resolve((chance) => {
      const bytes = mutateParquet(chance.pick(seeds), chance);
      return {
        bytes: bytes.length,
        file,
        async read() {
          await Deno.writeFile(file, bytes);
          using found = await ParquetTexts.open(file);
          let rows = 0;
          for await (const run of found.runs({ bytes: 300 })) {
            holds(run.firstRow === rows, `has row ${run.firstRow} after ${rows}`);
            rows += run.rows;
            const read = await found.read(run);
            holds(read.length <= run.rows, `gives ${read.length} texts of ${run.rows} rows`);
          }
          holds(rows === found.rows, `has ${rows} rows of ${found.rows}`);
        },
      };
    });
  },
};

function parquetOf(
  texts: readonly (string | null)[],
  codec: "UNCOMPRESSED" | "SNAPPY" | "ZSTD" | "GZIP",
  encoding: Encoding | undefined,
): Uint8Array {
  return new Uint8Array(parquetWriteBuffer({
    columnData: [
      { name: "id", data: texts.map((_, i) => i), type: "INT32" },
      { name: "text", data: [...texts], type: "STRING", ...encoding && { encoding } },
    ],
    ...{ codec, rowGroupSize: 25, pageSize: 200 },
    compressors: {
      ZSTD: (bytes: Uint8Array) => new Uint8Array(zstdCompressSync(bytes)),
      GZIP: (bytes: Uint8Array) => new Uint8Array(gzipSync(bytes)),
    },
  }));
}

/** Half of the time the footer alone, whose length is made right again. */
function mutateParquet(seed: Uint8Array, chance: Chance): Uint8Array {
  const footer = new DataView(seed.buffer, seed.byteOffset).getUint32(seed.length - 8, true);
  const start = seed.length - 8 - footer;
  switch (chance.below(4)) {
    case 0:
      return mutateBytes(seed, chance);
    case 1: {
      const pages = mutateVarints(seed.slice(4, start), chance);
      return joined(seed.slice(0, 4), pages.subarray(0, start - 4), seed.slice(start));
    }
    default: {
      const changed = chance.oneIn(2)
        ? mutateBytes(seed.slice(start, -8), chance)
        : mutateVarints(seed.slice(start, -8), chance);
      const length = new Uint8Array(4);
      new DataView(length.buffer).setUint32(0, changed.length, true);
      return joined(seed.slice(0, start), changed, length, seed.slice(-4));
    }
  }
}

/** Overwrites a few bytes, some by numbers of many bytes as Thrift has them. */
function mutateVarints(bytes: Uint8Array, chance: Chance): Uint8Array {
  let changed = bytes;
  for (let times = chance.between(1, 3); times > 0 && changed.length > 0; times--) {
    const at = chance.below(changed.length);
    const number = chance.pick([
      ...[[0], [1], [2], [0x7f], [0xff, 0x7f], [0x80, 0x80, 0x04], [0x80, 0x80, 0x80, 0x10]],
      ...[[0xff, 0xff, 0xff, 0xff, 0x0f], [0xfe, 0xff, 0xff, 0xff, 0x0f], [
        0x80,
        0x80,
        0x80,
        0x80,
        0x08,
      ]],
      ...[[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Array(300).fill(0x80)],
      ...[[0x19, 0xf1, 0xff, 0xff, 0xff, 0x07], [0x19, 0xfc, 0xff, 0xff, 0xff, 0x07]],
      ...[Array(500).fill(0x1c), [chance.below(256)], [chance.below(256), chance.below(256)]],
    ]);
    const end = chance.oneIn(2) ? at + 1 : at + number.length;
    changed = joined(changed.slice(0, at), Uint8Array.from(number), changed.slice(end));
  }
  return changed;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Lines of JSON: plain, gzip, zstd of one frame and of two. */
export const jsonl: Format = {
  name: "jsonl",
  place: /\bline \d+|\bbytes? -?\d+/,
  allowance: 8 << 20,
  prepare(folder) {
    const lines = Array.from(
      { length: 40 },
      (_, i) => ({ text: `line ${i} é`.repeat(i % 6), id: i }),
    );
    return Promise.resolve((chance) => {
      const text = new TextEncoder().encode(
        lines.map((line) =>
          chance.oneIn(30)
            ? mutateJsonText(line, chance).replaceAll("\n", " ")
            : JSON.stringify(line)
        ).join(chance.oneIn(20) ? "\r\n" : "\n"),
      );
      const [ending, compress] = chance.pick(KINDS);
      const bytes = ending === ".jsonl" || chance.oneIn(2)
        ? compress(chance.oneIn(3) ? mutateBytes(text, chance) : text)
        : mutateBytes(compress(text), chance);
      const file = join(folder, `fuzz${ending}`);
      return {
        bytes: bytes.length,
        file,
        async read() {
          await Deno.writeFile(file, bytes);
          const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
          let line = 1;
          for await (const piece of readPieces(file, { offset: 0, cut: cutAtLine, size: 512 })) {
            const text = decoder.decode(piece.bytes);
            for (const one of parseJsonLines(text, file, line)) textField(one, "text", file);
            line += text.split("\n").length - 1;
          }
        },
      };
    });
  },
};

const zstd = (bytes: Uint8Array) => new Uint8Array(zstdCompressSync(bytes));
const KINDS: readonly (readonly [string, (bytes: Uint8Array) => Uint8Array])[] = [
  [".jsonl", (bytes) => bytes],
  [".jsonl.gz", (bytes) => new Uint8Array(gzipSync(bytes))],
  [".jsonl.zst", zstd],
  [".jsonl.zst", (bytes) => joined(zstd(bytes.slice(0, 300)), zstd(bytes.slice(300)))],
];

/** Zip archives with a text of sentence pairs. */
export const pairs: Format = {
  name: "zip",
  // What is wrong inside of the archive has a line.
  place: /\bline \d+|\bbytes? -?\d+|expected (UTF-8|sentence pairs|one of)/,
  allowance: 2 << 20,
  async prepare(folder) {
    const text = Array.from({ length: 30 }, (_, i) => `Go ${i}.\tVa ${i} !\tCC-BY`).join("\n");
    const seeds = [
      await zipOf({ "_about.txt": "about", "fra.txt": text }),
      await zipOf({ "a/b/fra.txt": text }, { level: 0 }),
      await zipOf({ "fra.txt": text }, { zip64: true }),
    ];
    const file = join(folder, "fuzz.zip");
    return (chance) => {
      const bytes = mutateBytes(chance.pick(seeds), chance);
      return {
        bytes: bytes.length,
        file,
        async read() {
          await Deno.writeFile(file, bytes);
          const found = await readSentencePairs(file);
          holds(found.every(({ source, target }) => source !== "" && target !== ""), "empty");
        },
      };
    };
  },
};
