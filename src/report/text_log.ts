import { dirname } from "../io/node_builtins.ts";
import { toPath } from "../io/byte_source.ts";
import { writeAllSync } from "../io/write_all.ts";

/** Options of {@linkcode TextLog.open}. */
export interface TextLogOptions {
  /** Also receives each line, for example `console.log`. Default: nothing. */
  echo?: (line: string) => void;
}

/**
 * A text file to which lines are appended, across restarts: what an earlier run wrote stays. Each line is written at
 * once; a line that a killed run left unfinished is ended first.
 */
export class TextLog implements Disposable {
  /** The path of the file. */
  readonly path: string;
  #file: Deno.FsFile | undefined;
  #echo: ((line: string) => void) | undefined;

  private constructor(path: string, file: Deno.FsFile, options: TextLogOptions) {
    this.path = path;
    this.#file = file;
    this.#echo = options.echo;
  }

  /** Opens a log for appending, and creates it and its folder if they are missing. */
  static async open(path: string | URL, options?: TextLogOptions): Promise<TextLog> {
    const name = toPath(path);
    await Deno.mkdir(dirname(name), { recursive: true });
    const file = await Deno.open(name, { read: true, append: true, create: true });
    const log = new TextLog(name, file, options ?? {});
    if (await file.seek(0, Deno.SeekMode.End) > 0) {
      const last = new Uint8Array(1);
      await file.seek(-1, Deno.SeekMode.End);
      await file.read(last);
      if (last[0] !== "\n".charCodeAt(0)) log.#write("\n");
    }
    return log;
  }

  /** Writes one line, or several if `text` contains line breaks. */
  line(text: string): void {
    this.#write(text + "\n");
    this.#echo?.(text);
  }

  /** Closes the file; a second call does nothing. */
  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Closes the file at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #write(text: string): void {
    if (this.#file === undefined) {
      throw new Error(`${this.path}: expected an open file but got a closed one`);
    }
    writeAllSync(this.#file, new TextEncoder().encode(text), this.path);
  }
}
