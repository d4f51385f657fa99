/**
 * Trains GPT-2 from scratch, as https://github.com/karpathy/build-nanogpt does, on FineWeb-Edu shards or, by default,
 * on Moby Dick.
 *
 *     deno run --allow-read=runs --allow-write=runs examples/reproduce_gpt.ts
 *
 * All options: `--help`. Ctrl-C finishes the step and saves; `--resume` continues with the run's own options. This is
 * the command line's `train`, whose loop is in `src/cli/train.ts`; `train_gpt.ts` is the same without options.
 *
 * Under `mpirun -n 4`, which also needs `--allow-env --allow-ffi`, four ranks share every step; see docs/SCALING.md.
 *
 * @module
 */
import { main } from "../src/cli/cli.ts";

if (import.meta.main) await main(["train", ...Deno.args]);
