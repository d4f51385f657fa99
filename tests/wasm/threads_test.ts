import assert from "node:assert/strict";
import { matmulParams } from "../../kernels/gemm/params.ts";
import { sgemm } from "../../kernels/gemm/sgemm.ts";
import { ThreadPool } from "../../src/device/cpu/threads.ts";
import { Arena, randoms } from "./helpers.ts";
import { assertSame } from "../support/compare.ts";

Deno.test("ThreadPool.start() refuses a thread count that is not 1 to 16", () => {
  assert.throws(() => ThreadPool.start({ threads: 0 }), /from 1 to 16 but got 0/);
  assert.throws(() => ThreadPool.start({ threads: 1.5 }), RangeError);
  assert.throws(() => ThreadPool.start({ threads: 17 }), RangeError);
});

Deno.test("ThreadPool.run() works before any worker is up and after they are", () => {
  using pool = ThreadPool.start({ threads: 3 });
  const arena = new Arena(pool);
  const a = randoms(60 * 70, 1), b = randoms(70 * 80, 2);
  const pa = arena.put(a), pb = arena.put(b), pc = arena.out(60 * 80);
  const params = matmulParams({ m: 60, n: 80, k: 70 });
  const multiply = () => {
    arena.floats(pc, 60 * 80).fill(0);
    sgemm(pool, params, { a: pa, b: pb, c: pc });
    return arena.floats(pc, 60 * 80).slice();
  };
  const first = multiply();
  assert(pool.waitForWorkers(), "workers did not come up");
  for (let i = 0; i < 200; i++) assertSame(multiply(), first);
});

Deno.test("ThreadPool.run() names the kernel when it is unknown, traps or the pool is closed", () => {
  const pool = ThreadPool.start({ threads: 2 });
  pool.waitForWorkers();
  assert.throws(
    () => pool.run("no_such_kernel", 1, 1),
    /kernel "no_such_kernel": expected the name/,
  );
  // Reads behind the end of the memory: a trap, on whichever thread takes the chunk.
  const matrix = [0xfffffff0, 8, 64, 64];
  const bad = [8, 8, 8, 1, 64, ...matrix, 0, ...matrix, 0, ...matrix, 0, 0];
  for (let i = 0; i < 20; i++) {
    assert.throws(
      () => pool.run("sgemm", 64, 1, ...bad, 8, 8),
      /kernel "sgemm" failed.*out of bounds/,
    );
  }
  // The pool goes on after a trap.
  const arena = new Arena(pool);
  const one = arena.put([2]), two = arena.put([3]), out = arena.out(1);
  sgemm(pool, matmulParams({ m: 1, n: 1, k: 1 }), { a: one, b: two, c: out });
  assert.equal(arena.floats(out, 1)[0], 6);
  pool.close();
  pool.close();
  assert.throws(() => pool.run("sgemm", 1, 1), /expected an open thread pool/);
});

Deno.test("ThreadPool.run() runs a native kernel on all threads, or on the caller where workers have none", () => {
  // Writes the number of its thread at each item's place, so slowly that the worker gets some of them.
  const record =
    (memory: WebAssembly.Memory) => (thread: number, start: number, end: number, at: number) => {
      for (let i = start; i < end; i++) {
        new Int32Array(memory.buffer as ArrayBuffer, at, end)[i] = thread + 1;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
      }
    };
  const sources = [`(${record})(memory)`, undefined, "noSuchFunction(memory)"];
  for (const workerSource of sources) {
    const kernel = { name: "record", create: record, workerSource };
    using pool = ThreadPool.start({ threads: 2, native: [kernel] });
    assert(pool.waitForWorkers());
    const arena = new Arena(pool), at = arena.putInts(new Int32Array(40));
    pool.run("record", 40, 1, at);
    const expected = workerSource === sources[0] ? [1, 2] : [1];
    assert.deepEqual([...new Set(arena.ints(at, 40))].sort(), expected);
  }
});

Deno.test("ThreadPool does not keep a program alive and needs no permission", async () => {
  const pool = new URL("../../src/device/cpu/threads.ts", import.meta.url).href;
  const code = `import { ThreadPool } from "${pool}";
    const pool = ThreadPool.start({ threads: 2 });
    console.log(pool.waitForWorkers(), pool.threads);`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, code);
    const { code: status, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", "--no-lock", file],
      signal: AbortSignal.timeout(20_000),
    }).output();
    assert.equal(status, 0, new TextDecoder().decode(stderr));
    assert.equal(new TextDecoder().decode(stdout), "true 2\n");
  } finally {
    await Deno.remove(file);
  }
});
