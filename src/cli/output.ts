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

/** Returns the text of a file, or of standard input if there is no path or it is `-`. */
export async function readText(path: string | undefined): Promise<string> {
  if (path !== undefined && path !== "-") return await Deno.readTextFile(path);
  return await new Response(Deno.stdin.readable).text();
}
