// The bytes of a text file in pieces of a few megabytes, decompressed where its name ends in .gz or .zst, and
// cut where it does no harm.
import { stream, zlib } from "../../io/node_builtins.ts";
import { FileFormatError } from "../../io/errors.ts";
import { unzstd } from "./zstd.ts";

/** A piece of a file. */
export interface Piece {
  /** Its bytes, which belong to the caller. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Where they begin, in decompressed bytes. */
  offset: number;
  /** Bytes of the file that have been read for it and those before it. */
  fileBytes: number;
}

/** Finds the last place in `bytes` to cut at, the length of the first part; 0 where there is none. */
export type Cut = (bytes: Uint8Array) => number;

/** Options of {@linkcode readPieces}. */
export interface PieceOptions {
  /** Decompressed bytes to leave out at the beginning. */
  offset: number;
  /** Where a piece may end. */
  cut: Cut;
  /** Bytes of a piece, more only where there is no place to cut; 4 MiB by default. */
  size?: number;
  /** Bytes without a place to cut that are an error; 32 MiB by default, which takes ten times as much to tokenize. */
  longest?: number;
}

const NEWLINE = 0x0a;
const BLANK = 0x20;

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
      if (end === 0) continue; // it grows with the next bytes
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

/** After the last line end. */
export function cutAtLine(bytes: Uint8Array): number {
  return bytes.lastIndexOf(NEWLINE) + 1;
}

/**
 * Between something that is no white space and a blank or line end after it: there GPT-2's pattern always begins
 * a new word, so that the tokens of the parts are those of the whole.
 */
export function cutAtWord(bytes: Uint8Array): number {
  for (let i = bytes.length - 1; i > 0; i--) {
    if (bytes[i] !== NEWLINE && bytes[i] !== BLANK) continue;
    let start = i - 1;
    while (start > 0 && i - start < 4 && (bytes[start]! & 0xc0) === 0x80) start--;
    if (!WHITE_SPACE.test(decoder.decode(bytes.subarray(start, i)))) return i;
  }
  return 0;
}

const WHITE_SPACE = /[\s\p{White_Space}]/u;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function grown(
  held: Uint8Array<ArrayBuffer>,
  length: number,
  file: string,
  offset: number,
  longest: number,
): Uint8Array<ArrayBuffer> {
  if (length >= longest) {
    throw new FileFormatError(`has no line end or blank to cut at in ${length} bytes`, {
      file,
      offset,
    });
  }
  const larger = new Uint8Array(Math.min(longest, 2 * length));
  larger.set(held);
  return larger;
}

/** The bytes from `offset` on; `onRead` is told how much of the file has been read. */
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
      `is not a complete .${compression} file: ${(cause as Error).message ?? cause}`,
      { file: path, offset: read, cause },
    );
  }
}

// node:zlib reads files of several members one after the other, as `cat a.gz b.gz` makes them.
async function* gunzipped(raw: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = stream.Readable.from(raw);
  const unzip = zlib.createGunzip();
  source.on("error", (error) => unzip.destroy(error));
  yield* source.pipe(unzip);
}
