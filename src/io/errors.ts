/** The location of the error that a {@linkcode FileFormatError} reports. */
export interface FileFormatErrorOptions extends ErrorOptions {
  /** The path of the file, or a name for bytes in memory. */
  file: string;
  /** The byte offset of the first error, if it is known. */
  offset?: number;
}

/**
 * Thrown when a file does not hold what its format promises: it is foreign, cut short, corrupted, or of a kind that
 * this library does not read. The message begins with the file and ends with the byte offset.
 */
export class FileFormatError extends Error {
  /** The name of the class, as messages show it. */
  override name = "FileFormatError";
  /** The path of the file, or a name for bytes in memory. */
  readonly file: string;
  /** The byte offset of the first error, if it is known. */
  readonly offset: number | undefined;

  /** Creates the error; `message` says what was expected and found, without the name of the file. */
  constructor(message: string, options: FileFormatErrorOptions) {
    const place = options.offset === undefined ? "" : ` (at byte ${options.offset})`;
    super(`${options.file}: ${message}${place}`, { cause: options.cause });
    this.file = options.file;
    this.offset = options.offset;
  }
}

/**
 * Thrown when a file could not be written: a full disk, a missing permission, a folder that is gone. Any earlier file
 * of that name is unchanged. `cause` is the system's error.
 */
export class FileWriteError extends Error {
  /** The name of the class, as messages show it. */
  override name = "FileWriteError";
  /** The path that was to be written. */
  readonly file: string;
  /** The number of bytes that had been passed on when the write failed. */
  readonly bytesWritten: number;
  /** The size of the whole file in bytes, if it was known beforehand. */
  readonly bytesWanted: number | undefined;

  /** Creates the error from the system's `cause`. */
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
