// Reads zip archives. The underlying library is used only here, and is fetched only if an archive is opened.
import { importLate } from "../io/late_import.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";

/** A file of an archive. */
export interface ZipEntry {
  /** The path in the archive. */
  readonly name: string;
  /** The contents. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A file is held in memory as a whole; a few bytes of an archive can become a thousand times as many. */
const MAX_ENTRY_BYTES = 2 ** 29;
/** The maximum number of bytes that deflate makes of one. */
const MAX_PER_BYTE = 1032;
/** The supported compression methods: none and deflate. */
const METHODS: readonly unknown[] = [0, 8];

/**
 * Reads one file of a zip archive: the first whose path `choose` accepts. Its CRC is checked. Needs `--allow-read` for
 * the archive.
 *
 * @throws {FileFormatError} where the archive is cut short, corrupted, encrypted or no zip at all, and where
 * no file of it is accepted
 */
export async function readZipEntry(
  path: string | URL,
  choose: (name: string) => boolean,
): Promise<ZipEntry> {
  const file = toPath(path);
  const archive = await Deno.readFile(file);
  const { Uint8ArrayReader, Uint8ArrayWriter, ZipReader } = await importLate<
    typeof import("npm:@zip.js/zip.js@2.24.0")
  >("npm:@zip.js/zip.js@2.24.0");
  // Workers would need a permission, and would outlive the call.
  const reader = new ZipReader(new Uint8ArrayReader(archive), {
    checkSignature: true,
    useWebWorkers: false,
  });
  const broken = (cause: unknown, offset: number): never => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FileFormatError(
      `incomplete zip archive, it may have been cut short: ${reason.toLowerCase()}`,
      { file, offset, cause },
    );
  };
  // The directory of an archive is at its end.
  const entries = await reader.getEntries().catch((cause) => broken(cause, archive.length));
  for (const entry of entries) {
    if (entry.directory || !choose(entry.filename)) continue;
    const { compressionMethod: method, compressedSize: packed, uncompressedSize: size } = entry;
    const maxBytes = Math.min(MAX_ENTRY_BYTES, MAX_PER_BYTE * Math.min(packed, archive.length));
    if (!METHODS.includes(method) || !(size <= maxBytes)) {
      throw new FileFormatError(
        `expected at most ${MAX_ENTRY_BYTES} bytes packed by deflate but got ${size} in ${packed} by method ` +
          `${method}`,
        { file, offset: Number(entry.offset) },
      );
    }
    const bytes = await entry.getData(new Uint8ArrayWriter())
      .catch((cause) => broken(cause, Number(entry.offset)));
    return { name: entry.filename, bytes };
  }
  const names = entries.map(({ filename }) => filename).join(", ").slice(0, 200);
  throw new FileFormatError(`expected one of the files looked for but got ${names || "nothing"}`, {
    file,
  });
}
