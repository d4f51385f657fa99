// Reads texts from parquet files, a few pages at a time. The underlying library is used only here, and is fetched only
// if a file is opened.
import { importLate } from "../io/late_import.ts";
import type { FileMetaData, RowGroup, SchemaElement } from "npm:hyparquet@1.31.5";
import { FileSource } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { checkThrift } from "./parquet_guard.ts";
import { checkHeader, openPage, rowsOf } from "./parquet_page.ts";

/** A range of bytes of a file. */
export interface FileSpan {
  /** The offset of the first byte. */
  offset: number;
  /** The number of bytes. */
  length: number;
}

type Library = Awaited<ReturnType<typeof loadLibrary>>;
type PageHeader = ReturnType<Library["parquetHeader"]>;
type ColumnDecoder = Parameters<Library["readPage"]>[2];
type Texts = ReturnType<Library["readPage"]>["data"];

/** Consecutive pages of a row group: all that is needed to read their texts. */
export interface PageRun {
  /** The index of the row group. */
  group: number;
  /** The pages. */
  pages: FileSpan[];
  /** The page with the texts that the others refer to, if there is one. */
  dictionary?: FileSpan | undefined;
  /** The number of rows in these pages. */
  rows: number;
  /** The number of rows in the file before these. */
  firstRow: number;
  /** The decompressed size of the pages in bytes. */
  bytes: number;
}

/** Options of {@linkcode ParquetTexts.runs}. */
export interface PageRunOptions {
  /** The number of rows to skip: 0, the default, or where a run began. */
  firstRow?: number | undefined;
  /** The decompressed bytes of the pages of a run; one with a single page may have more. Default: 4 MiB. */
  bytes?: number;
}

const MAX_HEADER_BYTES = 2 ** 24;
/** The maximum number of characters of a run's texts: a dictionary can refer to a long one any number of times. */
const MAX_TEXTS = 2 ** 30;

// A byte order mark counts as text here, as it does in the tokenizers.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A column of texts of a parquet file on disk. Row groups can be of any size: only the requested pages are in memory.
 * Supports Snappy, zstd, gzip, brotli and LZ4.
 *
 * `runs()` finds the pages and `read()` returns their texts; the two may run in different threads.
 */
export class ParquetTexts implements Disposable {
  /** The path of the file. */
  readonly path: string;
  /** The number of rows in the file. */
  readonly rows: number;
  readonly #source: FileSource;
  readonly #library: Library;
  readonly #groups: RowGroup[];
  readonly #column: number;
  readonly #decoder: Omit<ColumnDecoder, "codec">;
  #dictionary: { offset: number; texts: Texts } | undefined;

  private constructor(
    source: FileSource,
    library: Library,
    metadata: FileMetaData,
    found: { column: number; decoder: Omit<ColumnDecoder, "codec"> },
  ) {
    this.path = source.name;
    this.rows = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
    this.#source = source;
    this.#library = library;
    this.#groups = metadata.row_groups;
    this.#column = found.column;
    this.#decoder = found.decoder;
  }

  /**
   * Opens a file and finds its column, by default `text`. Needs `--allow-read` for the file.
   *
   * @throws {FileFormatError} where it is no parquet file, is cut short, or has no such column of texts
   */
  static async open(path: string | URL, column?: string): Promise<ParquetTexts> {
    const library = await loadLibrary();
    const source = await FileSource.open(path);
    try {
      const metadata = await readMetadata(source, library);
      return new ParquetTexts(
        source,
        library,
        metadata,
        findColumn(metadata, column ?? "text", library, source),
      );
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Yields the pages of the file in order, in runs of a few megabytes.
   *
   * @throws {FileFormatError} where a page's header is broken or the pages have other rows than their group says
   */
  async *runs(options?: PageRunOptions): AsyncGenerator<PageRun> {
    const { firstRow = 0, bytes = 4 * 2 ** 20 } = options ?? {};
    let row = 0;
    for (let group = 0; group < this.#groups.length; group++) {
      const groupRows = Number(this.#groups[group]!.num_rows);
      if (row + groupRows <= firstRow) {
        row += groupRows;
        continue;
      }
      const end = row + groupRows;
      let dictionary: FileSpan | undefined;
      let run: PageRun | undefined;
      for await (const { header, span } of this.#pages(group)) {
        if (header.type === "DICTIONARY_PAGE") {
          dictionary = span;
          continue;
        }
        const rows = rowsOf(header);
        if (rows === undefined) continue; // an index page
        if (row >= firstRow) {
          run ??= { group, pages: [], dictionary, rows: 0, firstRow: row, bytes: 0 };
          run.pages.push(span);
          run.rows += rows;
          run.bytes += header.uncompressed_page_size;
        }
        row += rows;
        if (run && run.bytes >= bytes) {
          yield run;
          run = undefined;
        }
      }
      if (run) yield run;
      if (row !== end) {
        throw new FileFormatError(
          `row group ${group}: expected pages of ${groupRows} rows but got ${
            groupRows + row - end
          }`,
          { file: this.path, offset: Number(this.#metadata(group).data_page_offset) },
        );
      }
    }
  }

  /**
   * Returns the texts of a run in order; rows without a text are left out.
   *
   * @throws {FileFormatError} where a page is damaged or cut short
   */
  async read(run: PageRun): Promise<string[]> {
    const { codec } = this.#metadata(run.group);
    const decoder: ColumnDecoder = { ...this.#decoder, codec };
    const texts: string[] = [];
    let length = 0;
    const dictionary = run.dictionary && await this.#readDictionary(run.dictionary, decoder);
    for (const span of run.pages) {
      for (const text of await this.#readPage(span, decoder, dictionary) ?? []) {
        if (text === null) continue;
        if (typeof text !== "string" || (length += text.length) > MAX_TEXTS) {
          const found = text === undefined
            ? "a text that is not in its dictionary"
            : typeof text === "string"
            ? `more than ${MAX_TEXTS} characters`
            : `a ${typeof text}`;
          throw new FileFormatError(`expected texts but got ${found}`, {
            file: this.path,
            offset: span.offset,
          });
        }
        texts.push(text);
      }
    }
    return texts;
  }

  /** Closes the file. */
  close(): void {
    this.#source.close();
  }

  /** Closes the file at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #metadata(group: number): NonNullable<RowGroup["columns"][number]["meta_data"]> {
    const metadata = this.#groups[group]?.columns[this.#column]?.meta_data;
    if (!metadata || metadata.path_in_schema.join(".") !== this.#decoder.pathInSchema[0]) {
      throw new FileFormatError(
        `row group ${group}: expected the place of its column but got none`,
        {
          file: this.path,
        },
      );
    }
    return metadata;
  }

  /** Yields the headers of all pages of a row group's column, and where each page is, including its header. */
  async *#pages(group: number): AsyncGenerator<{ header: PageHeader; span: FileSpan }> {
    const { data_page_offset, dictionary_page_offset, total_compressed_size } = this.#metadata(
      group,
    );
    const first = Number(data_page_offset);
    const start = dictionary_page_offset ? Math.min(Number(dictionary_page_offset), first) : first;
    const end = start + Number(total_compressed_size);
    if (!(start >= 0 && end >= start && end <= this.#source.size)) {
      throw new FileFormatError(
        `row group ${group}: expected bytes ${start} to ${end} but got a file of ` +
          `${this.#source.size} bytes`,
        { file: this.path },
      );
    }
    for (let offset = start; offset < end;) {
      const { header, headerBytes } = await this.#readHeader(offset, end);
      const length = headerBytes + header.compressed_page_size;
      if (offset + length > end) {
        throw new FileFormatError(
          `expected a page of at most ${
            end - offset
          } bytes, the rest of its row group, but got ${length}`,
          { file: this.path, offset },
        );
      }
      yield { header, span: { offset, length } };
      offset += length;
    }
  }

  /** Reads the header of a page; its length is not known beforehand, and it may quote texts. */
  async #readHeader(
    offset: number,
    end: number,
  ): Promise<{ header: PageHeader; headerBytes: number }> {
    for (let window = 1024;; window *= 16) {
      const bytes = new Uint8Array(Math.min(window, end - offset));
      await this.#source.readInto(bytes, offset);
      const reader = { view: new DataView(bytes.buffer), offset: 0 };
      try {
        const header = readPageHeader(reader, this.#library);
        return { header, headerBytes: reader.offset };
      } catch (cause) {
        if (bytes.length < end - offset && window < MAX_HEADER_BYTES) continue;
        throw new FileFormatError(`damaged page header: ${(cause as Error).message}`, {
          file: this.path,
          offset,
          cause,
        });
      }
    }
  }

  async #readDictionary(span: FileSpan, decoder: ColumnDecoder): Promise<Texts> {
    if (this.#dictionary?.offset !== span.offset) {
      const data = await this.#readPage(span, decoder, undefined);
      const texts = data && this.#library.convert(data, decoder);
      this.#dictionary = { offset: span.offset, texts };
    }
    return this.#dictionary.texts;
  }

  async #readPage(span: FileSpan, decoder: ColumnDecoder, dictionary: Texts): Promise<Texts> {
    const bytes = new Uint8Array(span.length);
    await this.#source.readInto(bytes, span.offset);
    const reader = { view: new DataView(bytes.buffer), offset: 0 };
    try {
      const packed = readPageHeader(reader, this.#library);
      const { element, codec } = decoder;
      const { header, bytes: page } = openPage(packed, bytes.subarray(reader.offset), {
        ...{ codec, tools: this.#library },
        optional: element.repetition_type === "OPTIONAL",
      });
      const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
      const plain: ColumnDecoder = { ...decoder, codec: "UNCOMPRESSED" };
      const opened = { view, offset: 0 };
      return this.#library.readPage(opened, header, plain, dictionary, undefined, 0).data;
    } catch (cause) {
      throw new FileFormatError(`damaged page: ${(cause as Error).message}`, {
        file: this.path,
        offset: span.offset,
        cause,
      });
    }
  }
}

// The library's own entry point reads a whole row group at once; its parts can read a single page.
async function loadLibrary() {
  const [main, column, convert, encoding, delta, { compressors }] = await Promise.all([
    importLate<typeof import("npm:hyparquet@1.31.5")>("npm:hyparquet@1.31.5"),
    importLate<typeof import("npm:hyparquet@1.31.5/src/column.js")>(
      "npm:hyparquet@1.31.5/src/column.js",
    ),
    importLate<typeof import("npm:hyparquet@1.31.5/src/convert.js")>(
      "npm:hyparquet@1.31.5/src/convert.js",
    ),
    importLate<typeof import("npm:hyparquet@1.31.5/src/encoding.js")>(
      "npm:hyparquet@1.31.5/src/encoding.js",
    ),
    importLate<typeof import("npm:hyparquet@1.31.5/src/delta.js")>(
      "npm:hyparquet@1.31.5/src/delta.js",
    ),
    importLate<typeof import("npm:hyparquet-compressors@1.1.2")>("npm:hyparquet-compressors@1.1.2"),
  ]);
  return { ...main, ...column, ...convert, ...encoding, ...delta, compressors };
}

/**
 * Reads the header of a page. Its structure is checked first, since the library could read on for ever; then its sizes.
 */
function readPageHeader(reader: { view: DataView; offset: number }, library: Library): PageHeader {
  checkThrift(reader.view);
  const header = library.parquetHeader(reader);
  checkHeader(header);
  return header;
}

async function readMetadata(source: FileSource, library: Library): Promise<FileMetaData> {
  const broken = (reason: string, offset: number, cause?: unknown) =>
    new FileFormatError(`incomplete parquet file: ${reason}`, {
      file: source.name,
      offset,
      cause,
    });
  if (source.size < 12) {
    throw broken(`expected at least 12 bytes but got ${source.size}`, source.size);
  }
  const end = new DataView(new ArrayBuffer(8));
  await source.readInto(new Uint8Array(end.buffer), source.size - 8);
  if (end.getUint32(4, true) !== MAGIC) {
    throw broken("expected PAR1 at its end but got other bytes", source.size - 4);
  }
  const length = end.getUint32(0, true);
  if (length > source.size - 12) {
    throw broken(
      `expected at most ${source.size - 12} bytes of metadata but got ${length}`,
      source.size - 8,
    );
  }
  const start = source.size - 8 - length;
  const footer = new Uint8Array(length + 8);
  await source.readInto(footer, start);
  try {
    checkThrift(new DataView(footer.buffer, 0, length));
    const metadata = library.parquetMetadata(footer.buffer, { geoparquet: false });
    checkMetadata(metadata);
    return metadata;
  } catch (cause) {
    throw broken((cause as Error).message, start, cause);
  }
}

/** "PAR1". */
const MAGIC = 0x31524150;

/** Thrift does not fix the type of a field: a list may turn out to be a number. */
function checkMetadata({ schema, row_groups: groups }: FileMetaData): void {
  if (!Array.isArray(schema) || !Array.isArray(groups)) {
    throw new TypeError("expected a list of columns but got none");
  }
  for (const [i, { columns, num_rows: rows }] of groups.entries()) {
    const isCount = typeof rows === "bigint" && rows >= 0n && rows < 2n ** 50n;
    if (!isCount || !Array.isArray(columns)) {
      throw new TypeError(
        `row group ${i}: expected columns and a number of rows but got ${rows} rows`,
      );
    }
    for (const { meta_data: data } of columns) {
      if (data !== undefined && !Array.isArray(data?.path_in_schema)) {
        throw new TypeError(
          `row group ${i}: expected names of columns but got a column without one`,
        );
      }
    }
  }
}

/** Returns a column by its name; those inside of other columns, which the list has in order of depth, do not count. */
function childOfRoot(schema: readonly SchemaElement[], name: string): SchemaElement | undefined {
  let inside = 0; // how many elements of the current column are still to come
  for (const element of schema.slice(1)) {
    if (inside === 0 && element.name === name) return element;
    inside = Math.max(0, inside - 1) + (element.num_children ?? 0);
  }
  return undefined;
}

function findColumn(
  metadata: FileMetaData,
  name: string,
  library: Library,
  source: FileSource,
): { column: number; decoder: Omit<ColumnDecoder, "codec"> } {
  const columns = metadata.row_groups[0]?.columns ?? [];
  const column = columns.findIndex(({ meta_data }) => meta_data?.path_in_schema.join(".") === name);
  const names = columns.map(({ meta_data }) => meta_data?.path_in_schema.join(".")).join(", ")
    .slice(0, 200);
  if (column < 0 && columns.length > 0) {
    throw new FileFormatError(`expected a column "${name}" but got ${names}`, {
      file: source.name,
    });
  }
  // The library builds a tree of the schema, in quadratic time. A column of texts is next to the root.
  const root = metadata.schema[0]!;
  const element = childOfRoot(metadata.schema, name);
  const kinds: readonly unknown[] = [undefined, "UTF8", "JSON", "ENUM"];
  const isText = element?.type === "BYTE_ARRAY" && !element.num_children &&
    element.repetition_type !== "REPEATED" && root.repetition_type !== "REPEATED" &&
    kinds.includes(element.converted_type);
  if (!isText) {
    const found = element?.converted_type ?? element?.type ?? "a group";
    throw new FileFormatError(`expected texts in column "${name}" but got ${found}`, {
      file: source.name,
    });
  }
  const { type, repetition_type } = element;
  const plain: SchemaElement = { name, converted_type: "UTF8" };
  if (type !== undefined) plain.type = type;
  if (repetition_type !== undefined) plain.repetition_type = repetition_type;
  const parsers = {
    ...library.DEFAULT_PARSERS,
    stringFromBytes: (bytes: Uint8Array) => bytes && decoder.decode(bytes),
  };
  return {
    column,
    decoder: {
      pathInSchema: [name],
      type: "BYTE_ARRAY",
      element: plain,
      schemaPath: [
        { count: metadata.schema.length, element: { name: "schema" }, children: [], path: [] },
        { count: 1, element: plain, children: [], path: [name] },
      ],
      parsers,
      compressors: library.compressors,
    },
  };
}
