/** Standard input and output. */

/** Writes all of a text to standard output. */
export function write(text: string): void {
  for (let rest = new TextEncoder().encode(text); rest.length;) {
    rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

/** Writes a line to standard output. */
export function print(line: string): void {
  write(line + "\n");
}

/** Characters of the longest string. */
const LONGEST = 2 ** 29 - 24;

/** Returns the text of a file, or of standard input if there is no path or it is `-`. Throws for other than UTF-8. */
export async function readText(path: string | undefined): Promise<string> {
  const isFile = path !== undefined && path !== "-";
  const bytes = isFile
    ? await Deno.readFile(path)
    : await new Response(Deno.stdin.readable).bytes();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    if (bytes.length >= LONGEST) throw cause;
    const name = isFile ? path : "standard input";
    throw new Error(`${name}: expected a text in UTF-8 but got other bytes`, { cause });
  }
}
