/**
 * f32 matrix products of 512, 1024 and 2048: the CPU device with its WASM kernels against jax-js's, with BLAS
 * by FFI against onnxruntime and PyTorch, and WebGPU against jax-js and TensorFlow.js on the same adapter. Every contender
 * is a process of its own, they are timed in turns, and ratios are of medians; above 1, dinograd is faster.
 *
 * `deno run -A bench/compare_matmul.ts`, where a part may be named: `wasm`, `blas` or `webgpu`.
 */
import {
  CPU,
  CPU_WITH_BLAS,
  JAX_WASM,
  JAX_WEBGPU,
  ONNX,
  PYTORCH,
  TENSORFLOW,
  WEBGPU,
} from "./peers/all.ts";
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

const ROUNDS = 41;
/** Seconds after which no new round of a size begins. */
const SECONDS = 12;

const only = import.meta.main ? Deno.args[0] : undefined;
if (!only || only === "wasm") await compare("without FFI", [CPU, JAX_WASM]);
if (!only || only === "blas") await compare("with BLAS by FFI", [CPU_WITH_BLAS, ONNX, PYTORCH]);
if (!only || only === "webgpu") await compare("WebGPU", [WEBGPU, JAX_WEBGPU, TENSORFLOW]);

/** Prints GFLOP/s of every contender, and how many times faster the first is than each of the others. */
async function compare(title: string, options: readonly ContenderOptions[]): Promise<void> {
  console.log(`\nf32 matrix product, ${title}`);
  const contenders = await startAll(options);
  try {
    if (contenders.length > 1) await measure(contenders);
  } finally {
    contenders.forEach((contender) => contender[Symbol.dispose]());
  }
}

async function measure(contenders: readonly Contender[]): Promise<void> {
  const [own] = contenders as [Contender];
  const peers = peersOf(contenders);
  const rows = [["GFLOP/s", ...contenders.map(({ name }) => name), ...comparedWith(peers)]];
  for (const n of [512, 1024, 2048]) {
    for (const contender of contenders) await contender.prepare("matmul", n);
    await inTurns(contenders, ROUNDS, SECONDS);
    const rate = ({ median }: Contender) => (2 * n ** 3 / median / 1e6).toFixed(1);
    rows.push([`${n}`, ...contenders.map(rate), ...ratios(own, peers)]);
  }
  console.log(formatTable(rows));
}
