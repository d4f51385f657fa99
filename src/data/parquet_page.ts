/**
 * Prepares a page of a parquet file for the library behind `parquet.ts`: decompresses and checks it.
 *
 * @module
 */
import type { PageHeader } from "npm:hyparquet@1.31.5";
import { zlib } from "../io/node_builtins.ts";
import { checkDeltas, checkRuns } from "./parquet_guard.ts";

/** The parts of the library that are used here. */
export interface PageTools {
  /** Decompressors that must be given the length. */
  readonly compressors: {
    readonly [codec: string]: ((input: Uint8Array, length: number) => Uint8Array) | undefined;
  };
  /** Reads runs into `output`. */
  readRleBitPackedHybrid(
    reader: { view: DataView; offset: number },
    width: number,
    output: number[],
    length?: number,
  ): void;
  /** Reads delta-encoded numbers. */
  deltaBinaryUnpack(
    reader: { view: DataView; offset: number },
    count: number,
    output: Int32Array,
  ): void;
}

/** A page must fit into memory, whatever its header claims. */
const MAX_PAGE_BYTES = 256 * 2 ** 20;
/** A few bytes can stand for any number of rows: all without a text, or all with the same one. */
const MAX_CHEAP_ROWS = 2 ** 20;
/** The maximum number of bytes that one byte can become, in the formats that must be given the length. */
const MAX_PER_BYTE: Readonly<Record<string, number>> = { SNAPPY: 24, LZ4: 256, LZ4_RAW: 256 };
const ENCODINGS: readonly unknown[] = [
  ...["PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY"],
  ...["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"],
];

/** Throws a `RangeError` if the sizes in the header of a page make no sense. */
export function checkHeader(header: PageHeader): void {
  const { compressed_page_size: compressed, uncompressed_page_size: bytes } = header;
  const isSize = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!(isSize(compressed) && isSize(bytes) && bytes <= MAX_PAGE_BYTES)) {
    throw new RangeError(
      `expected a page of at most ${MAX_PAGE_BYTES} bytes but got ${bytes}, ${compressed} compressed`,
    );
  }
  const maxRows = MAX_CHEAP_ROWS + 8 * bytes;
  const rows = rowsOf(header) ?? header.dictionary_page_header?.num_values ?? 0;
  if (!(isSize(rows) && rows <= maxRows)) {
    throw new RangeError(`expected at most ${maxRows} rows in a page but got ${rows}`);
  }
}

/** Returns the number of rows of a data page; undefined for other pages. */
export function rowsOf(header: PageHeader): number | undefined {
  return header.data_page_header?.num_values ?? header.data_page_header_v2?.num_values;
}

/**
 * Returns the page decompressed, with its levels and encodings checked.
 *
 * @throws {RangeError} where they make no sense
 * @throws {Error} where it cannot be decompressed
 */
export function openPage(
  header: PageHeader,
  bytes: Uint8Array,
  { codec, optional, tools }: { codec: string; optional: boolean; tools: PageTools },
): { header: PageHeader; bytes: Uint8Array } {
  const { data_page_header: first, data_page_header_v2: second } = header;
  let page: Uint8Array;
  if (header.type === "DATA_PAGE_V2" && second) {
    page = openSecond(header, bytes, codec, tools);
    checkLevels(page, second.num_values, second.definition_levels_byte_length, 0, optional);
    const values = second.num_values - second.num_nulls;
    const at = second.definition_levels_byte_length;
    checkValues(page, at, String(second.encoding), values, tools);
  } else {
    page = decompress(codec, bytes, header.uncompressed_page_size, tools);
    if (header.type === "DATA_PAGE" && first) {
      const { at, values } = firstLevels(page, first.num_values, optional, tools);
      checkValues(page, at, String(first.encoding), values, tools);
    } else if ((header.dictionary_page_header?.num_values ?? 0) > page.length / 4) {
      throw new RangeError("expected a length for each text of the dictionary but got fewer");
    }
  }
  return {
    header: {
      ...header,
      compressed_page_size: page.length,
      uncompressed_page_size: page.length,
      ...second && { data_page_header_v2: { ...second, is_compressed: false } },
    },
    bytes: page,
  };
}

/** Opens a page of version 2, whose levels are never compressed. */
function openSecond(
  header: PageHeader,
  bytes: Uint8Array,
  codec: string,
  tools: PageTools,
): Uint8Array {
  const page = header.data_page_header_v2!;
  const { definition_levels_byte_length: levels, repetition_levels_byte_length: others } = page;
  const { num_values: rows, num_nulls: nulls } = page;
  const isRight = others === 0 && levels >= 0 && levels <= bytes.length &&
    levels <= header.uncompressed_page_size && nulls >= 0 && nulls <= rows;
  if (!isRight) {
    throw new RangeError(
      `expected levels that fit their page but got ${levels} and ${others} bytes, ${nulls} of ${rows} rows empty`,
    );
  }
  const length = header.uncompressed_page_size - levels;
  const packed = bytes.subarray(levels);
  const values = page.is_compressed === false ? packed : decompress(codec, packed, length, tools);
  const whole = new Uint8Array(levels + values.length);
  whole.set(bytes.subarray(0, levels));
  whole.set(values, levels);
  return whole;
}

/** Returns where the values of a page of version 1 begin, and how many there are. */
function firstLevels(
  page: Uint8Array,
  rows: number,
  optional: boolean,
  tools: PageTools,
): { at: number; values: number } {
  if (!optional) return { at: 0, values: rows };
  const view = viewOf(page);
  const length = view.getUint32(0, true);
  checkLevels(page, rows, length, 4, optional);
  const levels = new Array<number>(rows);
  tools.readRleBitPackedHybrid({ view, offset: 4 }, 1, levels, length);
  return { at: 4 + length, values: levels.reduce((sum, level) => sum + level, 0) };
}

function checkLevels(
  page: Uint8Array,
  rows: number,
  length: number,
  at: number,
  optional: boolean,
): void {
  if (optional) checkRuns(viewOf(page), { at, end: at + length, width: 1, count: rows });
  else if (length > 0) {
    throw new RangeError("expected no levels in a column with a text in every row but got some");
  }
}

function checkValues(
  page: Uint8Array,
  at: number,
  encoding: string,
  count: number,
  tools: PageTools,
): void {
  if (!ENCODINGS.includes(encoding)) {
    throw new RangeError(
      `expected one of ${ENCODINGS.join(", ")} but got the encoding ${encoding}`,
    );
  }
  const view = viewOf(page);
  if (encoding.endsWith("DICTIONARY") && count > 0) {
    const width = view.getUint8(at);
    checkRuns(view, { at: at + 1, end: page.length, width, count });
  } else if (encoding === "PLAIN" && count > (page.length - at) / 4) {
    throw new RangeError(`expected ${count} texts but got ${page.length - at} bytes`);
  } else if (encoding.startsWith("DELTA") && count > 0) {
    const reader = { view, offset: at };
    const read = () => {
      checkDeltas(view, reader.offset);
      const numbers = new Int32Array(count);
      tools.deltaBinaryUnpack(reader, count, numbers);
      return numbers;
    };
    checkLengths(encoding === "DELTA_BYTE_ARRAY" ? read() : undefined, read());
  }
}

/** Texts that share a prefix with the one before can be any length in a few bytes. */
function checkLengths(prefixes: Int32Array | undefined, suffixes: Int32Array): void {
  let [before, total] = [0, 0];
  for (let i = 0; i < suffixes.length; i++) {
    const prefix = prefixes?.[i] ?? 0;
    if (prefix < 0 || prefix > before || suffixes[i]! < 0) {
      throw new RangeError(
        `text ${i}: expected at most ${before} bytes of the one before but got ${prefix}, and ${
          suffixes[i]
        } more`,
      );
    }
    before = prefix + suffixes[i]!;
    total += before;
    if (total > MAX_PAGE_BYTES) {
      throw new RangeError(`expected texts of at most ${MAX_PAGE_BYTES} bytes but got more`);
    }
  }
}

function decompress(
  codec: string,
  bytes: Uint8Array,
  length: number,
  { compressors }: PageTools,
): Uint8Array {
  const found = length === 0 ? new Uint8Array(0) : inflate(codec, bytes, length, compressors);
  if (found.length !== length) {
    throw new RangeError(`expected ${length} decompressed bytes but got ${found.length}`);
  }
  return found;
}

function inflate(
  codec: string,
  bytes: Uint8Array,
  length: number,
  compressors: PageTools["compressors"],
): Uint8Array {
  // node:zlib allocates memory as it goes, up to the limit.
  const options = { maxOutputLength: length };
  switch (codec) {
    case "UNCOMPRESSED":
      return bytes;
    case "GZIP":
      return zlib.gunzipSync(bytes, options);
    case "ZSTD":
      return zlib.zstdDecompressSync(bytes, options);
    case "BROTLI":
      return zlib.brotliDecompressSync(bytes, options);
  }
  const decompressor = compressors[codec === "LZ4" && !isHadoopLz4(bytes) ? "LZ4_RAW" : codec];
  if (!Object.hasOwn(MAX_PER_BYTE, codec) || !decompressor) {
    throw new RangeError(
      `expected pages compressed by GZIP, ZSTD, BROTLI, SNAPPY or LZ4 but got ${codec}`,
    );
  }
  const claimed = codec === "SNAPPY" ? snappyLength(bytes) : length;
  if (claimed !== length || length > MAX_PER_BYTE[codec]! * bytes.length) {
    throw new RangeError(
      `expected ${length} bytes decompressed from ${codec} but got ${bytes.length} that cannot hold them`,
    );
  }
  return decompressor(bytes, length);
}

/** Reads the length at the beginning of Snappy's data. */
function snappyLength(bytes: Uint8Array): number {
  let length = 0;
  for (let i = 0; i < 5 && i < bytes.length; i++) {
    length += (bytes[i]! & 0x7f) * 2 ** (7 * i);
    if (bytes[i]! < 0x80) return length;
  }
  return -1;
}

/** Whether LZ4's blocks are preceded by lengths, as Hadoop writes them. */
function isHadoopLz4(bytes: Uint8Array): boolean {
  const view = viewOf(bytes);
  let at = 0;
  while (at + 8 <= bytes.length) {
    const [plain, packed] = [view.getInt32(at), view.getInt32(at + 4)];
    if (plain < 0 || packed < 0) return false;
    at += 8 + packed;
  }
  return at === bytes.length;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
