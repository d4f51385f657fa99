// A corpus file in pieces that threads can tokenize, each with the place to go on from after it.
import { END_OF_TEXT } from "../../tokenizer/gpt2_tokenizer.ts";
import { ParquetTexts } from "../parquet.ts";
import type { Place } from "./manifest.ts";
import { cutAtLine, cutAtWord, readPieces } from "./text_stream.ts";
import type { Work } from "./work.ts";

/** A piece of a corpus file. */
export interface Chunk {
  /** The text to tokenize. */
  work: Work;
  /** Where the next piece begins. */
  after: Place;
  /** How much of the file is read after it, from 0 to 1. */
  share: number;
}

type Kind = Work["kind"];

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/\.parquet$/, "parquet"],
  [/\.(jsonl|ndjson)(\.gz|\.zst)?$/, "jsonl"],
  [/\.txt(\.gz|\.zst)?$/, "text"],
];

/** What a file's name says that it holds; `undefined` where it is nothing that can be prepared. */
export function kindOf(name: string): Kind | undefined {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1];
}

/** How a file is read. */
export interface ChunkOptions {
  /** Column of parquet, or field of JSON, with the texts. */
  field: string;
  /** Where to begin; the empty place is the beginning. */
  place: Place;
  /** Bytes of a piece, more or less. */
  bytes: number;
}

/** The pieces of a file from a place on. */
export function readChunks(path: string, options: ChunkOptions): AsyncGenerator<Chunk> {
  switch (kindOf(path)) {
    case "parquet":
      return parquetChunks(path, options);
    case "jsonl":
      return jsonlChunks(path, options);
    case "text":
      return textChunks(path, options);
    default:
      throw new TypeError(
        `${path}: expected a file named .parquet, .jsonl or .txt, the last two also with .gz or .zst`,
      );
  }
}

async function* parquetChunks(
  path: string,
  { field, place, bytes }: ChunkOptions,
): AsyncGenerator<Chunk> {
  using texts = await ParquetTexts.open(path, field);
  for await (const run of texts.runs({ firstRow: place.row, bytes })) {
    const row = run.firstRow + run.rows;
    yield {
      work: { kind: "parquet", path, field, run },
      after: { row },
      share: row / texts.rows,
    };
  }
}

async function* jsonlChunks(path: string, options: ChunkOptions): AsyncGenerator<Chunk> {
  const { field, bytes: size } = options;
  let { offset = 0, line = 1 } = options.place;
  const fileSize = await sizeOf(path);
  for await (const { bytes, fileBytes } of readPieces(path, { offset, cut: cutAtLine, size })) {
    const work: Work = { kind: "jsonl", path, field, bytes, line };
    line += countLines(bytes);
    offset += bytes.length;
    yield { work, after: { offset, line }, share: fileBytes / fileSize };
  }
}

async function* textChunks(path: string, options: ChunkOptions): AsyncGenerator<Chunk> {
  const { bytes: size } = options;
  let { offset = 0, inside = 0 } = options.place;
  const fileSize = await sizeOf(path);
  for await (const { bytes, fileBytes } of readPieces(path, { offset, cut: cutAtWord, size })) {
    const work: Work = { kind: "text", path, bytes, inside: inside === 1 };
    inside = endsDocument(bytes) ? 0 : 1;
    offset += bytes.length;
    yield { work, after: { offset, inside }, share: fileBytes / fileSize };
  }
}

async function sizeOf(path: string): Promise<number> {
  return Math.max(1, (await Deno.stat(path)).size);
}

function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (let i = bytes.indexOf(10); i >= 0; i = bytes.indexOf(10, i + 1)) lines++;
  return lines;
}

const END = new TextEncoder().encode(END_OF_TEXT);

function endsDocument(bytes: Uint8Array): boolean {
  return END.every((byte, i) => bytes[bytes.length - END.length + i] === byte);
}
