/**
 * Attention on the CPU device against its own matrix product: GFLOP/s of the work that causality leaves, without BLAS
 * and, where FFI is permitted, with it.
 *
 *   deno run --allow-ffi bench/wasm_attention.ts
 */
import { attentionParams } from "../kernels/attention/attention.ts";
import { attentionBackwardSimd, attentionSimd } from "../kernels/attention/attention_simd.ts";
import { matmulParams } from "../kernels/gemm/params.ts";
import { sgemm } from "../kernels/gemm/sgemm.ts";
import { Blas } from "../src/device/cpu/blas.ts";
import { ThreadPool } from "../src/device/cpu/threads.ts";

/** Best and median of a few runs in milliseconds. */
function time(run: () => void): [number, number] {
  const times: number[] = [];
  for (let i = 0; i < 12; i++) {
    const start = performance.now();
    run();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return [times[0], times[6]];
}

const [batch, heads, d] = [2, 6, 64];
const library = Blas.open();
const runs = [1, 2].flatMap((threads) =>
  [undefined, ...library ? [library] : []].map((blas) => ({ threads, blas }))
);
for (const { threads, blas } of runs) {
  using pool = ThreadPool.start({ threads, native: blas?.kernels });
  pool.waitForWorkers();
  const { memory } = pool;
  const context = { memory, threads, blas, run: pool.run.bind(pool) };
  for (const t of [256, 1024]) {
    const size = batch * heads * t * d, rows = batch * heads * t;
    const end = pool.heapBase + 4 * (9 * size + 2 * rows);
    pool.memory.grow(Math.max(0, Math.ceil((end - pool.memory.buffer.byteLength) / 65536)));
    new Float32Array(pool.memory.buffer, pool.heapBase, 9 * size).forEach((_, i, x) =>
      x[i] = Math.sin(i)
    );
    const at = (i: number) => pool.heapBase + 4 * i * size;
    const [q, k, v, o, dO, dQ, dK, dV] = [0, 1, 2, 3, 4, 5, 6, 7].map(at);
    const addresses = { q, k, v, o, lse: at(9), dO, dQ, dK, dV };
    const params = attentionParams({ batch, heads, queries: t, keys: t, d, step: 1 });
    const flop = 2 * batch * heads * d * t * (t + 1) / 2;
    const gflops = (factor: number, [best, median]: [number, number]) =>
      `${(factor * flop / best / 1e6).toFixed(1)} / ${(factor * flop / median / 1e6).toFixed(1)}`;
    const forward = time(() => attentionSimd(context, params, addresses));
    const backward = time(() => attentionBackwardSimd(context, params, addresses));
    const n = 512, square = matmulParams({ m: n, n, k: n });
    const product = time(() => sgemm(context, square, { a: q, b: k, c: dQ }));
    console.log(
      `threads ${threads}${blas ? " with BLAS" : ""}, T ${t}, best / median GFLOP/s: forward ${
        gflops(2, forward)
      }, ` +
        `backward ${gflops(5, backward)}, matrix product ${
          (2 * n ** 3 / product[0] / 1e6).toFixed(1)
        } / ${(2 * n ** 3 / product[1] / 1e6).toFixed(1)}`,
    );
  }
}
