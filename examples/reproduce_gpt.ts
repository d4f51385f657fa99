/**
 * Trains GPT-2 from scratch, as https://github.com/karpathy/build-nanogpt does, on FineWeb-Edu shards or,
 * with nothing at hand, on Moby Dick.
 *
 *     deno run --allow-read=runs --allow-write=runs examples/reproduce_gpt.ts
 *
 * All options: `--help`. Ctrl-C finishes the step and saves; `--resume` continues with the run's own options. It is the
 * command line's `train`, whose loop stands in `src/cli/train.ts`; `train_gpt.ts` is the same without options.
 *
 * Under `mpirun -n 4`, which needs `--allow-env --allow-ffi`, too, four ranks share every step; see docs/SCALING.md.
 *
 * @module
 */
import { main } from "../src/cli/cli.ts";

if (import.meta.main) await main(["train", ...Deno.args]);
