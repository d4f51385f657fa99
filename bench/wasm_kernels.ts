/**
 * The WASM kernels of the CPU device one by one: nanoseconds per element (row-wise: rows of 768), what starting a job costs,
 * and GFLOP/s of the matrix shapes of a training step and of decoding.
 *
 *   deno run bench/wasm_kernels.ts
 */
import { matmulParams, type PartialMatmulParams } from "../kernels/gemm/params.ts";
import { sgemm } from "../kernels/gemm/sgemm.ts";
import { ThreadPool } from "../src/device/cpu/threads.ts";

/** Median of `rounds` runs in milliseconds. */
function time(run: () => void, rounds = 15): number {
  const times: number[] = [];
  for (let i = -2; i < rounds; i++) {
    const start = performance.now();
    run();
    if (i >= 0) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return times[times.length >> 1];
}

const pools = [1, 2].map((threads) => ThreadPool.start({ threads }));
const columns = 768, rows = 512, n = rows * columns;
for (const pool of pools) {
  pool.waitForWorkers();
  pool.memory.grow(1200);
  new Float32Array(pool.memory.buffer, pool.heapBase, 16 << 20).forEach((_, i, x) =>
    x[i] = Math.sin(i) * 3
  );
}

const kernels: [string, "element" | "row" | "column", (at: (i: number) => number) => number[]][] = [
  ["add", "element", (at) => [at(0), at(1), at(2)]],
  ["exp", "element", (at) => [at(0), at(2)]],
  ["tanh", "element", (at) => [at(0), at(2)]],
  ["gelu_tanh", "element", (at) => [at(0), at(2)]],
  ["gelu_tanh_backward", "element", (at) => [at(0), at(1), at(2)]],
  ["gelu_erf", "element", (at) => [at(0), at(2)]],
  ["silu", "element", (at) => [at(0), at(2)]],
  // deno-fmt-ignore
  ["adamw", "element", (at) => [at(0), at(1), at(2), at(3), 1e-3, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 0]],
  ["softmax", "row", (at) => [at(0), at(2), columns]],
  ["layer_norm", "row", (at) => [at(0), at(1), at(1), at(2), at(3), at(4), columns, 1e-5]],
  ["layer_norm_backward", "row", (at) => [at(0), at(1), at(5), at(3), at(4), at(2), columns]],
  // deno-fmt-ignore
  ["layer_norm_backward_params", "column", (at) => [at(0), at(1), at(3), at(4), at(5), at(6), rows, columns]],
  ["column_sum", "column", (at) => [at(0), at(2), rows, columns, 0]],
];
for (const [name, over, values] of kernels) {
  const cells = pools.map((pool) => {
    const args = values((i) => pool.heapBase + 4 * n * i);
    const [count, chunk] = over === "element"
      ? [n, 16384]
      : over === "row"
      ? [rows, 21]
      : [columns, 64];
    return (time(() => pool.run(name, count, chunk, ...args)) / n * 1e6).toFixed(2);
  });
  console.log(`${name}: ${cells[0]} ns on 1 thread, ${cells[1]} on 2`);
}

const [single, pool] = pools;
const empty = time(() => {
  for (let i = 0; i < 1000; i++) pool.run("fill", 8, 4, pool.heapBase, 0);
});
const inline = time(() => {
  for (let i = 0; i < 1000; i++) pool.run("fill", 8, 8, pool.heapBase, 0);
});
console.log(`a job: ${empty.toFixed(2)} us on 2 threads, ${inline.toFixed(2)} us of one piece`);

const shapes: [string, PartialMatmulParams][] = [
  ["linear forward", { m: 1024, n: 1536, k: 384, transposeB: 1 }],
  ["linear dx", { m: 1024, n: 384, k: 1536 }],
  ["linear dweight", { m: 1536, n: 384, k: 1024, transposeA: 1 }],
  ["narrow forward", { m: 1024, n: 64, k: 64, transposeB: 1 }],
  ["narrow dweight", { m: 64, n: 64, k: 1024, transposeA: 1 }],
  ["decode, weight by rows", { m: 1, n: 3072, k: 768, transposeB: 1 }],
  ["decode, weight by columns", { m: 1, n: 3072, k: 768 }],
  ["many small products", { m: 32, n: 32, k: 32, batches: 512 }],
];
for (const [label, shape] of shapes) {
  const flop = 2 * shape.m * shape.n * shape.k * (shape.batches ?? 1);
  const params = matmulParams(shape);
  const cells = [single, pool].map((pool) => {
    const [a, b, c] = [0, 1, 2].map((i) => pool.heapBase + (i << 24));
    return (flop / time(() => sgemm(pool, params, { a, b, c })) / 1e6).toFixed(
      1,
    );
  });
  const { m, n, k } = shape;
  console.log(`${label} ${m} x ${n} x ${k}: ${cells[0]} GFLOP/s on 1 thread, ${cells[1]} on 2`);
}
