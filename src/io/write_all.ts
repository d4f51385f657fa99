import { FileWriteError } from "./errors.ts";

/** Writes all of the bytes to an open file; the error for a full disk names `path`. */
export function writeAllSync(file: Deno.FsFile, bytes: Uint8Array, path: string): void {
  for (let done = 0; done < bytes.byteLength;) {
    try {
      done += file.writeSync(bytes.subarray(done));
    } catch (cause) {
      throw new FileWriteError(path, { bytesWritten: done, bytesWanted: bytes.byteLength, cause });
    }
  }
}
