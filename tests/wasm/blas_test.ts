import assert from "node:assert/strict";
import { matmulParams } from "../../kernels/gemm/params.ts";
import { sgemm } from "../../kernels/gemm/sgemm.ts";
import { Blas } from "../../src/device/cpu/blas.ts";
import { ThreadPool } from "../../src/device/cpu/threads.ts";
import { Arena, randoms, worst } from "./helpers.ts";

Deno.test("Blas.open() gives nothing without a permission, without a library or when it is off", async () => {
  assert.equal(Blas.open({ path: "/no/such/libopenblas.so" }), undefined);
  assert.equal(Blas.open({ path: "off" }), undefined);
  const url = new URL("../../src/device/cpu/blas.ts", import.meta.url).href;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, `import { Blas } from "${url}"; console.log(Blas.open());`);
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", "--no-lock", file],
    }).output();
    assert.equal(code, 0);
    assert.equal(new TextDecoder().decode(stdout), "undefined\n");
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("sgemm() gives with BLAS what it gives without, where one is installed", () => {
  const blas = Blas.open();
  if (blas === undefined) {
    console.log("no BLAS on this machine: the products stay with the WASM kernels");
    return;
  }
  using pool = ThreadPool.start({ threads: 2, native: blas.kernels });
  pool.waitForWorkers();
  const run: ThreadPool["run"] = (...job) => pool.run(...job);
  const withBlas = { memory: pool.memory, threads: pool.threads, run, blas };
  for (const transposeA of [0, 1]) {
    for (const transposeB of [0, 1]) {
      for (const [m, n, k] of [[1, 9, 5], [33, 47, 65], [5, 8, 0], [30, 31, 32], [141, 259, 90]]) {
        for (const ldc of [n, n + 3]) {
          const arena = new Arena(pool, 2 ** 31);
          const batches = 4, start = randoms(batches * m * ldc, 3);
          // Two times two products, of which the outer ones share B.
          const params = matmulParams({
            ...{ m, n, k, transposeA, transposeB, batches, inner: 2, ldc, beta: 1, alpha: 0.5 },
            bOuter: 0,
          });
          const operands = {
            a: arena.put(randoms(batches * m * k, 1)),
            b: arena.put(randoms(batches * k * n, 2)),
            bias: arena.put(randoms(n, 4)),
          };
          const c1 = arena.put(start), c2 = arena.put(start);
          sgemm(withBlas, params, { ...operands, c: c1 });
          sgemm(pool, params, { ...operands, c: c2 });
          const [x, y] = [c1, c2].map((c) => arena.floats(c, start.length));
          assert(worst(x, y) < 1e-5, `${m} ${n} ${k} ${transposeA} ${transposeB} ${ldc}`);
        }
      }
    }
  }
  blas.close();
});

Deno.test("devices in several Workers of a process multiply at the same time", async () => {
  const program = new URL("../device/cpu/multiply_worker.ts", import.meta.url);
  // Ends by the signal where the threads block each other, as those of OpenBLAS once did.
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", program.href],
    signal: AbortSignal.timeout(60_000),
  }).output();
  assert.equal(new TextDecoder().decode(stdout), "0,0,0,0\n", new TextDecoder().decode(stderr));
  assert.equal(code, 0);
});

Deno.test({
  name: "BLAS stays loaded when the last device that uses it is closed",
  ignore: Deno.build.os !== "linux",
  fn() {
    const blas = Blas.open();
    if (blas === undefined) return; // as above
    blas.close();
    const name = blas.path.slice(blas.path.lastIndexOf("/") + 1).replace(/\.so.*/, "");
    assert.ok(Deno.readTextFileSync("/proc/self/maps").includes(name));
  },
});
