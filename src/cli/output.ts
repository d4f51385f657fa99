/** The standard streams. */

/** Writes text to the standard output, all of it. */
export function write(text: string): void {
  for (let rest = new TextEncoder().encode(text); rest.length;) {
    rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

/** Writes a line to the standard output. */
export function print(line: string): void {
  write(line + "\n");
}

/** The text of a file, or of the standard input where there is no path or it is `-`. */
export async function readText(path: string | undefined): Promise<string> {
  if (path !== undefined && path !== "-") return await Deno.readTextFile(path);
  return await new Response(Deno.stdin.readable).text();
}
