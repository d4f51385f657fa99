/**
 * Matrix products of the CPU device in GFLOP/s: WASM kernels on 1 and 2 threads, the machine's BLAS by FFI where there is
 * one, and jax-js's WASM backend in the same run when `--jax=<folder>` names one with node_modules/@jax-js/jax in it.
 * Rounds are interleaved; the last line of a size gives ratios of medians.
 *
 *   deno run --allow-ffi bench/wasm_matmul.ts
 *   deno run -A bench/wasm_matmul.ts --jax=/tmp/peers
 */
import { Blas } from "../src/device/cpu/blas.ts";
import { sgemm } from "../src/device/cpu/sgemm.ts";
import { ThreadPool } from "../src/device/cpu/threads.ts";

/** One contender: multiplies two n x n matrices and returns when the product is there. */
type Multiply = () => void | Promise<void>;

function onPool(pool: ThreadPool, n: number, blas?: Blas): Multiply {
  const end = pool.heapBase + 12 * n * n;
  pool.memory.grow(Math.max(0, Math.ceil((end - pool.memory.buffer.byteLength) / 65536)));
  const [a, b, c] = [0, 1, 2].map((i) => pool.heapBase + 4 * i * n * n);
  new Float32Array(pool.memory.buffer, a, 2 * n * n).forEach((_, i, x) => x[i] = Math.sin(i));
  const options = { m: n, n, k: n, a, b, c };
  return () => blas ? blas.sgemm(pool, options) : sgemm(pool, options);
}

async function onJax(folder: string): Promise<(n: number) => Promise<Multiply>> {
  const jax = await import(`file://${folder}/node_modules/@jax-js/jax/dist/index.js`);
  await jax.init();
  jax.defaultDevice("wasm");
  // deno-lint-ignore no-explicit-any
  const multiply = jax.jit((a: any, b: any) => jax.numpy.matmul(a, b));
  return async (n) => {
    const [a, b] = [0, 1].map(() =>
      jax.numpy.array(Float32Array.from({ length: n * n }, (_, i) => Math.sin(i))).reshape([n, n])
    );
    await jax.blockUntilReady([a, b]);
    return async () => {
      const c = multiply(a.ref, b.ref);
      await c.blockUntilReady();
      c.dispose();
    };
  };
}

const folder = Deno.args.find((arg) => arg.startsWith("--jax="))?.slice(6);
const jax = folder ? await onJax(folder) : undefined;
const one = ThreadPool.start({ threads: 1 }), two = ThreadPool.start({ threads: 2 });
two.waitForWorkers();
const blas = Blas.open({ threads: 2 });
if (blas) console.log(`BLAS: ${blas.path} (${blas.core})`);
for (const n of [512, 1024, 2048]) {
  const contenders = new Map<string, Multiply>([
    ["wasm, 1 thread", onPool(one, n)],
    ["wasm, 2 threads", onPool(two, n)],
  ]);
  if (blas) contenders.set("BLAS, 2 threads", onPool(two, n, blas));
  if (jax) contenders.set("jax-js wasm", await jax(n));
  const times = new Map<string, number[]>([...contenders.keys()].map((name) => [name, []]));
  const rounds = n === 2048 ? 5 : 15;
  for (let round = -2; round < rounds; round++) {
    for (const [name, multiply] of contenders) {
      const start = performance.now();
      await multiply();
      if (round >= 0) times.get(name)!.push(performance.now() - start);
    }
  }
  const median = new Map<string, number>();
  for (const [name, list] of times) {
    list.sort((a, b) => a - b);
    median.set(name, list[list.length >> 1]);
    const gflops = (ms: number) => (2 * n ** 3 / ms / 1e6).toFixed(1);
    console.log(
      `${n} ${name}: best ${gflops(list[0])}, median ${gflops(list[list.length >> 1])} GFLOP/s`,
    );
  }
  const peer = median.get("jax-js wasm");
  if (peer) {
    console.log(
      `${n}: wasm on 2 threads is ${
        (peer / median.get("wasm, 2 threads")!).toFixed(2)
      } times jax-js`,
    );
  }
}
Deno.exit(0);
