/**
 * One training step (forward, backward, clipping, AdamW) of a GPT-2 of 7,487,232 parameters on 4 x 256 tokens:
 * the CPU device, without and with BLAS, against jax-js's WASM backend and PyTorch, and the WebGPU device against jax-js
 * on the same adapter. All start from the same weights, so their losses must be the same. Every contender is a
 * process of its own, they are timed in turns, and ratios are of medians; above 1, dinograd is faster.
 *
 * `deno run -A bench/compare_train_step.ts`, where a part may be named: `cpu` or `webgpu`.
 */
import { CPU, CPU_WITH_BLAS, JAX_WASM, JAX_WEBGPU, PYTORCH, WEBGPU } from "./peers/all.ts";
import {
  comparedWith,
  type Contender,
  type ContenderOptions,
  formatTable,
  inTurns,
  peersOf,
  ratios,
  startAll,
} from "./peers/contender.ts";
import { BATCH, GPT, LOSSES } from "./peers/workload.ts";

/** Steps before those that count; the first one compiles. */
const WARM_UP = 2;
/** Seconds after which no new round begins, once there are two. */
const SECONDS = 30;

/** What a contender tells after its steps. */
interface Report {
  readonly losses: readonly number[];
  readonly timings?: string;
  readonly peak?: number;
}

const only = import.meta.main ? Deno.args[0] : undefined;
if (!only || only === "cpu") await compare("CPU", [CPU, CPU_WITH_BLAS, JAX_WASM, PYTORCH], 7);
if (!only || only === "webgpu") await compare("WebGPU", [WEBGPU, JAX_WEBGPU], 3);

/** Prints tokens/s of every contender, how many times faster each is than the peers, and the share of kernels. */
async function compare(
  title: string,
  options: readonly ContenderOptions[],
  rounds: number,
): Promise<void> {
  console.log(`\nGPT-2 training step, ${BATCH} x ${GPT.context} tokens, ${title}`);
  const contenders = await startAll(options);
  if (contenders.length === 0) return;
  try {
    for (const contender of contenders) await contender.warmUp("train", WARM_UP);
    await inTurns(contenders, rounds, SECONDS);
    await print(contenders);
  } finally {
    contenders.forEach((contender) => contender[Symbol.dispose]());
  }
}

async function print(contenders: readonly Contender[]): Promise<void> {
  const peers = peersOf(contenders);
  const rows = [["", "tokens/s", "ms/step", "first ms", ...comparedWith(peers), "losses"]];
  const shares: string[] = [];
  for (const contender of contenders) {
    const { losses, timings, peak } = await contender.report() as Report;
    const { name, median, firstTime } = contender;
    rows.push([
      name,
      (BATCH * GPT.context / median * 1e3).toFixed(0),
      median.toFixed(0),
      firstTime.toFixed(0),
      ...ratios(contender, peers),
      losses.map((loss) => loss.toFixed(5)).join(" "),
    ]);
    if (timings) {
      shares.push(
        `\n${name}, one step, peak ${((peak ?? 0) / 2 ** 20).toFixed(0)} MiB\n${timings}`,
      );
    }
    losses.forEach((loss, i) => {
      if (Math.abs(loss - LOSSES[i]) < 2e-4) return;
      throw new Error(`${name}: loss ${i + 1} is ${loss}, expected ${LOSSES[i]}`);
    });
  }
  console.log(formatTable(rows));
  shares.forEach((share) => console.log(share));
}
