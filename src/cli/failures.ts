/** How the command line ends. */

/** Exit codes: 0 all is done, 1 it failed, 2 wrong usage; a signal's is {@linkcode Interrupt.exitCode}. */
export const FAILED = 1, WRONG_USAGE = 2;

/** What a person did wrong. */
export class UsageError extends Error {
  /** `UsageError`. */
  override readonly name = "UsageError";
}

/** What went wrong, in one line; a path that leads nowhere comes first, as in the messages of the library. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const path = error instanceof Deno.errors.NotFound && /: \w+ '(.+)'$/.exec(error.message)?.[1];
  return path ? `${path}: expected a file but got nothing there` : error.message;
}

/** Ends the process with one line that says why; with `--debug` also where. */
export function fail(error: unknown, debug: boolean): never {
  if (error instanceof Deno.errors.BrokenPipe) Deno.exit(0); // `| head` has seen enough
  console.error(`error: ${messageOf(error)}`);
  if (debug && error instanceof Error) console.error(error.stack);
  Deno.exit(error instanceof UsageError ? WRONG_USAGE : FAILED);
}
