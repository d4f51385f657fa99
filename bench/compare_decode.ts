/**
 * Greedy decoding of a GPT-2 of 7,487,232 parameters with a key-value cache, from 16 tokens to 240, one sequence and
 * sixteen: the CPU device, without and with BLAS, and WebGPU, against TensorFlow.js's WASM backend and PyTorch with caches
 * of their own. All start from the same weights and must find the same ids. Every contender is a process of its
 * own, they are timed in turns, and ratios are of medians; above 1, dinograd is faster.
 *
 * `deno run -A bench/compare_decode.ts`, where a part may be named: `cpu` or `webgpu`.
 */
import { CPU, CPU_WITH_BLAS, PYTORCH, TENSORFLOW_WASM, WEBGPU } from "./peers/all.ts";
import {
  comparedWith,
  type Contender,
  formatTable,
  inTurns,
  peersOf,
  ratios,
  startAll,
} from "./peers/contender.ts";
import { DECODE } from "./peers/workload.ts";

/** Seconds after which no new round begins, once there are two. */
const SECONDS = 30;

/** What a contender tells after its last sequence. */
interface Report {
  /** The first ids it found. */
  readonly tail: readonly number[];
  /** Milliseconds of a token among the first 16 and among the last 16. */
  readonly early: number;
  readonly late: number;
}

const only = import.meta.main ? Deno.args[0] : undefined;
const devices = [
  ...!only || only === "cpu" ? [CPU, CPU_WITH_BLAS] : [],
  ...!only || only === "webgpu" ? [{ ...WEBGPU, name: "dinograd WebGPU" }] : [],
];
const contenders = await startAll([...devices, TENSORFLOW_WASM, PYTORCH]);
try {
  for (const batch of [1, 16]) await compare(batch);
} finally {
  contenders.forEach((contender) => contender[Symbol.dispose]());
}

async function compare(batch: number): Promise<void> {
  console.log(
    `\nGreedy decoding with a cache, ${DECODE.from} to ${DECODE.until} tokens, batch ${batch}`,
  );
  for (const contender of contenders) await contender.prepare("decode", batch);
  await inTurns(contenders, 7, SECONDS);
  const peers = peersOf(contenders);
  const rows = [["", "tokens/s", "ms at 16", "ms at 240", "240 / 16", ...comparedWith(peers)]];
  let ids: string | undefined;
  for (const contender of contenders) {
    const { tail, early, late } = await contender.report() as Report;
    if ((ids ??= String(tail)) !== String(tail)) {
      throw new Error(`${contender.name} finds ${tail} where ${contenders[0].name} finds ${ids}`);
    }
    rows.push(row(contender, peers, batch, early, late));
  }
  console.log(formatTable(rows));
}

function row(
  contender: Contender,
  peers: readonly Contender[],
  batch: number,
  early: number,
  late: number,
): string[] {
  const tokens = batch * (DECODE.until - DECODE.from);
  return [
    contender.name,
    (tokens / contender.median * 1e3).toFixed(0),
    early.toFixed(2),
    late.toFixed(2),
    (late / early).toFixed(2),
    ...ratios(contender, peers),
  ];
}
