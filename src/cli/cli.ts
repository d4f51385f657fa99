/**
 * The command line: `deno run -A jsr:@dinograd/dinograd/cli --help`.
 *
 * Commands: `train`, `finetune`, `generate`, `chat`, `serve`, `tokenize`, `prepare`, `evaluate`, `convert`, `devices`,
 * `completions`.
 *
 * @module
 */
import { fail } from "./failures.ts";
import { createProgram } from "./program.ts";

/** Runs the command line `args`; on failure reports why and ends the process. */
export async function main(args: string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    fail(error, program.opts().debug === true);
  }
}

if (import.meta.main) await main(Deno.args);
