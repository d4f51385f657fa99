/** How the command line ends. */

/** Exit codes: 0 all is done, 1 it failed, 2 wrong usage; a signal's is {@linkcode Interrupt.exitCode}. */
export const FAILED = 1, WRONG_USAGE = 2;

/** What a person did wrong. */
export class UsageError extends Error {
  /** `UsageError`. */
  override readonly name = "UsageError";
}

/** Ends the process with one line that says why; with `--debug` also where. */
export function fail(error: unknown, debug: boolean): never {
  if (error instanceof Deno.errors.BrokenPipe) Deno.exit(0); // `| head` has seen enough
  const message = error instanceof Error ? error.message : String(error);
  console.error(`error: ${message}`);
  if (debug && error instanceof Error) console.error(error.stack);
  Deno.exit(error instanceof UsageError ? WRONG_USAGE : FAILED);
}
