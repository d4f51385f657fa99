// Splits a corpus file into chunks that threads can tokenize, each with the place to continue from after it: the rows
// of parquet, or the bytes of a text file, decompressed if its name ends in .gz or .zst, and cut where it does no harm.
import { FileFormatError } from "../../io/errors.ts";
import { stream, zlib } from "../../io/node_builtins.ts";
import { END_OF_TEXT } from "../../tokenizer/gpt2_tokenizer.ts";
import { ParquetTexts } from "../parquet.ts";
import { type Cut, cutAtLine } from "./cuts.ts";
import type { Place } from "./shard_stream.ts";
import type { Work } from "./work.ts";

/** A chunk of a corpus file. */
export interface Chunk {
  /** The text to tokenize. */
  work: Work;
  /** Where the next chunk begins. */
  after: Place;
  /** The share of the file that has been read up to the end of this chunk, from 0 to 1. */
  share: number;
}

type Kind = Work["kind"];

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/\.parquet$/, "parquet"],
  [/\.(jsonl|ndjson)(\.gz|\.zst)?$/, "jsonl"],
  [/\.txt(\.gz|\.zst)?$/, "text"],
];

/** Returns the kind of a file by its name; `undefined` if it cannot be prepared. */
export function kindOf(name: string): Kind | undefined {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1];
}

/** How a file is read. */
interface ChunkOptions {
  /** The column of parquet, or field of JSON, with the texts. */
  field: string;
  /** Where to begin; the empty place is the beginning. */
  place: Place;
  /** The approximate size of a chunk in bytes. */
  bytes: number;
  /** Where plain text may be cut. */
  cut: Cut;
}

/** Yields the chunks of a file from a place on. */
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
        `expected a file named .parquet, .jsonl or .txt, the last two also with .gz or .zst, but got ${path}`,
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
  const { bytes: size, cut } = options;
  let { offset = 0, inside = 0 } = options.place;
  const fileSize = await sizeOf(path);
  const cutText = (bytes: Uint8Array) => beginningOfDocument(bytes, cut(bytes));
  for await (const { bytes, fileBytes } of readPieces(path, { offset, cut: cutText, size })) {
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

/** Moves a cut at the first word of a document to before the white space that the document begins with. */
function beginningOfDocument(bytes: Uint8Array, cut: number): number {
  let start = cut;
  while (ASCII_SPACE.includes(bytes[start - 1]!)) start--;
  return endsDocument(bytes.subarray(0, start)) ? start : cut;
}

/** Tab, line feed, form feed, carriage return and blank. */
const ASCII_SPACE = [9, 10, 12, 13, 32];

/** A piece of a text file. */
export interface Piece {
  /** Its bytes, which belong to the caller. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Their offset in the decompressed bytes. */
  offset: number;
  /** The bytes of the file read so far, for this piece and those before it. */
  fileBytes: number;
}

/** Options of {@linkcode readPieces}. */
interface PieceOptions {
  /** The number of decompressed bytes to skip at the beginning. */
  offset: number;
  /** Where a piece may end. */
  cut: Cut;
  /** The size of a piece in bytes, exceeded only if there is no place to cut. Default: 4 MiB. */
  size?: number;
  /**
   * The number of bytes without a place to cut at which an error is thrown. Default: 32 MiB, which takes ten times as
   * much to tokenize.
   */
  longest?: number;
}

/**
 * Reads a text file in pieces.
 *
 * @throws {FileFormatError} where it is not compressed as its name says, is cut short, or has no place to cut
 * for too long
 */
export async function* readPieces(path: string, options: PieceOptions): AsyncGenerator<Piece> {
  const { cut, size = 4 * 2 ** 20, longest = 32 * 2 ** 20 } = options;
  let { offset } = options;
  let held: Uint8Array<ArrayBuffer> = new Uint8Array(size);
  let length = 0;
  let fileBytes = 0;
  for await (const part of readDecompressed(path, offset, (count) => fileBytes = count)) {
    for (let rest = part; rest.length > 0;) {
      if (length === held.length) held = grown(held, length, path, offset, longest);
      const count = Math.min(rest.length, held.length - length);
      held.set(rest.subarray(0, count), length);
      length += count;
      rest = rest.subarray(count);
      if (length < held.length) continue;
      const end = cut(held);
      if (end === 0) continue; // the piece grows with the next bytes
      yield { bytes: held.slice(0, end), offset, fileBytes };
      const left = held.subarray(end);
      held = new Uint8Array(Math.max(size, 2 * left.length));
      held.set(left);
      length = left.length;
      offset += end;
    }
  }
  if (length > 0) yield { bytes: held.slice(0, length), offset, fileBytes };
}

function grown(
  held: Uint8Array<ArrayBuffer>,
  length: number,
  file: string,
  offset: number,
  longest: number,
): Uint8Array<ArrayBuffer> {
  if (length >= longest) {
    throw new FileFormatError(
      `expected a line end or a blank to cut at but got none in ${length} bytes`,
      {
        file,
        offset,
      },
    );
  }
  const larger = new Uint8Array(Math.min(longest, 2 * length));
  larger.set(held);
  return larger;
}

/** Yields the decompressed bytes from `offset` on; `onRead` receives how much of the file has been read. */
async function* readDecompressed(
  path: string,
  offset: number,
  onRead: (fileBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  using file = await Deno.open(path, { read: true });
  const compression = /\.(gz|zst)$/.exec(path)?.[1];
  let read = 0;
  if (compression === undefined) read = await file.seek(offset, Deno.SeekMode.Start);
  const raw = async function* (): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for (;;) {
      const bytes = new Uint8Array(2 ** 16);
      const count = await file.read(bytes);
      if (count === null) return;
      onRead(read += count);
      yield bytes.subarray(0, count);
    }
  };
  if (compression === undefined) return yield* raw();

  let skipped = 0;
  try {
    for await (const part of compression === "gz" ? gunzipped(raw()) : unzstd(raw())) {
      const skip = Math.min(part.length, offset - skipped);
      skipped += skip;
      if (skip < part.length) yield part.subarray(skip);
    }
  } catch (cause) {
    if (cause instanceof FileFormatError) throw cause;
    throw new FileFormatError(
      `incomplete .${compression} file: ${(cause as Error).message ?? cause}`,
      { file: path, offset: read, cause },
    );
  }
}

// node:zlib reads files of several members in sequence, as `cat a.gz b.gz` creates them.
async function* gunzipped(raw: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = stream.Readable.from(raw);
  const unzip = zlib.createGunzip();
  source.on("error", (error) => unzip.destroy(error));
  yield* source.pipe(unzip);
}

// Zstandard by node:zlib, which in Deno 2.9 silently ends after the first of several frames, and does not report a
// frame that is cut short. So the frames are separated here. Format: RFC 8878, section 3.1.

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50; // and the 15 values after it
const RLE = 1, RESERVED = 3;

/**
 * Yields the decompressed bytes of the frames in order.
 *
 * @throws {Error} where a frame is foreign, damaged or cut short
 */
async function* unzstd(raw: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(raw);
  while (await reader.has(1)) {
    const magic = viewOf(await reader.take(4)).getUint32(0, true);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE) {
      const length = viewOf(await reader.take(4)).getUint32(0, true);
      for await (const _ of reader.parts(length));
    } else if (magic === MAGIC) {
      const source = stream.Readable.from(frame(reader));
      const unzip = zlib.createZstdDecompress();
      source.on("error", (error) => unzip.destroy(error));
      yield* source.pipe(unzip);
    } else {
      throw new Error(`expected a frame but got ${magic.toString(16)}`);
    }
  }
}

/** Yields the bytes of a frame whose magic number has been consumed. */
async function* frame(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const magic = new Uint8Array(4);
  viewOf(magic).setUint32(0, MAGIC, true);
  yield magic;
  const descriptor = await reader.take(1);
  yield descriptor;
  const [flags = 0] = descriptor;
  const single = (flags >> 5) & 1;
  const sizeBytes = flags >> 6 ? 1 << (flags >> 6) : single;
  yield await reader.take(1 - single + [0, 1, 2, 4][flags & 3]! + sizeBytes);
  for (let last = false; !last;) {
    const header = await reader.take(3);
    yield header;
    const bits = header[0]! | header[1]! << 8 | header[2]! << 16;
    const type = (bits >> 1) & 3;
    if (type === RESERVED) throw new Error("expected a block of type 0, 1 or 2 but got another");
    last = (bits & 1) === 1;
    yield* reader.parts(type === RLE ? 1 : bits >> 3);
  }
  if (flags & 4) yield await reader.take(4); // a checksum
}

/** Reads given numbers of bytes from a stream. */
class ByteReader {
  readonly #raw: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);

  constructor(raw: AsyncIterable<Uint8Array>) {
    this.#raw = raw[Symbol.asyncIterator]();
  }

  /** Whether at least `count` bytes, a small number, are left. */
  async has(count: number): Promise<boolean> {
    while (this.#held.length < count) {
      const { done, value } = await this.#raw.next();
      if (done) return false;
      const longer = new Uint8Array(this.#held.length + value.length);
      longer.set(this.#held);
      longer.set(value, this.#held.length);
      this.#held = longer;
    }
    return true;
  }

  /** Returns the next `count` bytes, a small number. */
  async take(count: number): Promise<Uint8Array> {
    if (!await this.has(count)) throw new Error("expected a whole frame but got the file's end");
    const taken = this.#held.slice(0, count);
    this.#held = this.#held.subarray(count);
    return taken;
  }

  /** Yields the next `count` bytes as they come. */
  async *parts(count: number): AsyncGenerator<Uint8Array> {
    while (count > 0) {
      if (!await this.has(1)) throw new Error("expected a whole frame but got the file's end");
      const part = this.#held.slice(0, count);
      this.#held = this.#held.subarray(part.length);
      count -= part.length;
      yield part;
    }
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
