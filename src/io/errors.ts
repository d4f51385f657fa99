/** What a {@linkcode FileFormatError} says about the place where a file is wrong. */
export interface FileFormatErrorOptions extends ErrorOptions {
  /** Path of the file, or a name for bytes that lie in memory. */
  file: string;
  /** Offset in bytes of the first thing that is wrong, where one can be named. */
  offset?: number;
}

/**
 * A file does not hold what its format promises: it is foreign, cut short, corrupted, or of a kind
 * that this library does not read. The message opens with the file and ends with the byte offset.
 */
export class FileFormatError extends Error {
  /** Name of the class, as messages show it. */
  override name = "FileFormatError";
  /** Path of the file, or a name for bytes that lie in memory. */
  readonly file: string;
  /** Offset in bytes of the first thing that is wrong, where one can be named. */
  readonly offset: number | undefined;

  /** Makes the error; `message` says expected and actual, without the file's name. */
  constructor(message: string, options: FileFormatErrorOptions) {
    const place = options.offset === undefined ? "" : ` (at byte ${options.offset})`;
    super(`${options.file}: ${message}${place}`, { cause: options.cause });
    this.file = options.file;
    this.offset = options.offset;
  }
}

/**
 * A file could not be written: a full disk, a missing permission, a folder that is gone. What stood
 * under that name before still stands there. `cause` holds the system's error.
 */
export class FileWriteError extends Error {
  /** Name of the class, as messages show it. */
  override name = "FileWriteError";
  /** Path that was to be written. */
  readonly file: string;
  /** Bytes that had been handed over when the write failed. */
  readonly bytesWritten: number;
  /** Bytes that the whole file needs, where that was known beforehand. */
  readonly bytesWanted: number | undefined;

  /** Makes the error from the system's `cause`. */
  constructor(
    file: string,
    options: { bytesWritten: number; bytesWanted?: number | undefined; cause: unknown },
  ) {
    const { bytesWritten, bytesWanted, cause } = options;
    const size = bytesWanted === undefined
      ? `${bytesWritten}`
      : `${bytesWritten} of ${bytesWanted}`;
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`${file}: could not be written, failed after ${size} bytes: ${reason}`, { cause });
    this.file = file;
    this.bytesWritten = bytesWritten;
    this.bytesWanted = bytesWanted;
  }
}
