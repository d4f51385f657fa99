/** How the command line ends. */

/** Exit codes: 0 for success, 1 for failure, 2 for wrong usage; for a signal see {@linkcode Interrupt.exitCode}. */
export const FAILED = 1, WRONG_USAGE = 2;

/** A mistake by the user. */
export class UsageError extends Error {
  /** Always `"UsageError"`. */
  override readonly name = "UsageError";
}

/** Returns what went wrong in one line; a path to nothing comes first, as in the messages of the library. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const path = error instanceof Deno.errors.NotFound && /: \w+ '(.+)'$/.exec(error.message)?.[1];
  return path ? `${path}: expected a file but got nothing there` : error.message;
}

/** Ends the process with one line that says why, and with `--debug` also where. */
export function fail(error: unknown, debug: boolean): never {
  if (error instanceof Deno.errors.BrokenPipe) Deno.exit(0); // `| head` has seen enough
  console.error(`error: ${messageOf(error)}`);
  if (debug && error instanceof Error) console.error(error.stack);
  Deno.exit(error instanceof UsageError ? WRONG_USAGE : FAILED);
}
