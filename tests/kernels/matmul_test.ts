import { matmul } from "../../kernels/gemm/matmul.ts";
import { matmulParams, type PartialMatmulParams } from "../../kernels/gemm/params.ts";
import type { Device } from "../../src/device/device.ts";
import type { Kernel } from "../../src/device/kernel.ts";
import { assertCloseEach } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

/** Numbers in [-1, 1), the same on every run. */
function randoms(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return state / 2 ** 31;
  });
}

/** Runs a kernel on arrays and gives back the one called `c`. */
async function run(
  device: Device,
  // deno-lint-ignore no-explicit-any -- kernels of any parameters
  kernel: Kernel<any>,
  arrays: Record<string, Float32Array | undefined>,
  params: Record<string, number>,
): Promise<Float32Array> {
  const given = Object.entries(arrays).filter(([, array]) => array !== undefined);
  const bindings = Object.fromEntries(given.map(([name, array]) => {
    const buffer = device.createBuffer(array!.byteLength);
    device.write(buffer, array!);
    return [name, { buffer, dtype: "f32" as const, offset: 0, size: array!.length }];
  }));
  device.launch(kernel, bindings, params);
  const { buffer } = bindings.c;
  const [bytes] = await device.read([{ buffer, byteOffset: 0, byteLength: arrays.c!.byteLength }]);
  for (const binding of Object.values(bindings)) device.releaseBuffer(binding.buffer);
  return new Float32Array(bytes.buffer);
}

/** Elements that a batch of matrices spans. */
function span(start: number, outer: number, inner: number, p: { batches: number; inner: number }) {
  const last = p.batches - 1;
  return start + Math.floor(last / p.inner) * outer + Math.min(last, p.inner - 1) * inner;
}

/** Runs a product on the device and holds every element of C against float64. */
async function check(
  device: Device,
  options: PartialMatmulParams & { bias?: boolean },
): Promise<void> {
  const p = matmulParams(options);
  const [aRows, aWidth] = p.transposeA ? [p.k, p.m] : [p.m, p.k];
  const [bRows, bWidth] = p.transposeB ? [p.n, p.k] : [p.k, p.n];
  const size = (start: number, outer: number, inner: number, rows: number, ld: number, w: number) =>
    Math.max(0, span(start, outer, inner, p) + (rows - 1) * ld + w);
  const a = randoms(size(p.aOffset, p.aOuter, p.aInner, aRows, p.lda, aWidth), 1);
  const b = randoms(size(p.bOffset, p.bOuter, p.bInner, bRows, p.ldb, bWidth), 2);
  const c = randoms(size(p.cOffset, p.cOuter, p.cInner, p.m, p.ldc, p.n), 3);
  const bias = options.bias ? randoms(p.n, 4) : undefined;
  const expected = Float64Array.from(c);
  for (let batch = 0; batch < p.batches; batch++) {
    const outer = Math.floor(batch / p.inner), inner = batch % p.inner;
    const [aAt, bAt, cAt] = [
      p.aOffset + outer * p.aOuter + inner * p.aInner,
      p.bOffset + outer * p.bOuter + inner * p.bInner,
      p.cOffset + outer * p.cOuter + inner * p.cInner,
    ];
    for (let i = 0; i < p.m; i++) {
      for (let j = 0; j < p.n; j++) {
        let sum = 0;
        for (let l = 0; l < p.k; l++) {
          sum += a[aAt + (p.transposeA ? l * p.lda + i : i * p.lda + l)] *
            b[bAt + (p.transposeB ? j * p.ldb + l : l * p.ldb + j)];
        }
        const at = cAt + i * p.ldc + j;
        expected[at] = p.alpha * sum + (bias?.[j] ?? 0) + p.beta * c[at];
      }
    }
  }
  const actual = await run(device, matmul, { a, b, c, bias }, p);
  const tolerance = 1e-6 * (1 + p.k ** 0.5) * Math.max(1, Math.abs(p.alpha));
  assertCloseEach(actual, expected, tolerance, `c of ${JSON.stringify(p)}`);
}

const transposes = [[0, 0], [0, 1], [1, 0], [1, 1]];

await onEachDevice("matmul() agrees with float64 in all transposes, odd sizes", async (device) => {
  for (const [transposeA, transposeB] of transposes) {
    for (const [m, n, k] of [[33, 37, 19], [1, 5, 3], [7, 1, 70]]) {
      await check(device, { m, n, k, transposeA, transposeB });
    }
  }
});

await onEachDevice("matmul() agrees with float64 in all transposes, even sizes", async (device) => {
  for (const [transposeA, transposeB] of transposes) {
    await check(device, { m: 100, n: 76, k: 52, transposeA, transposeB, bias: true });
  }
});

await onEachDevice("matmul() accumulates, scales and adds a bias", async (device) => {
  await check(device, { m: 12, n: 8, k: 16, alpha: -2.5, beta: 1, bias: true });
  await check(device, { m: 12, n: 8, k: 16, beta: 1 });
  await check(device, { m: 5, n: 9, k: 7, alpha: 0.5, beta: 1, bias: true });
  await check(device, { m: 5, n: 9, k: 7, beta: 0.25 });
});

await onEachDevice("matmul() of no columns and rows is zero, or the bias", async (device) => {
  await check(device, { m: 9, n: 8, k: 0 });
  await check(device, { m: 9, n: 8, k: 0, bias: true });
  await check(device, { m: 3, n: 5, k: 0, beta: 1 });
});

await onEachDevice("matmul() broadcasts over batches and leaves gaps alone", async (device) => {
  // a (3, 1, m, k) with b (2, k, n): b is shared along the outer dimension, a along the inner.
  await check(device, {
    m: 8,
    n: 12,
    k: 4,
    batches: 6,
    inner: 2,
    aOuter: 32,
    aInner: 0,
    bOuter: 0,
    bInner: 48,
  });
  await check(device, { m: 3, n: 5, k: 6, batches: 7, bInner: 0, bOuter: 0 });
  // Heads inside rows: (B, T, H, D) times its transpose, c with gaps between rows.
  await check(device, {
    m: 10,
    n: 10,
    k: 4,
    transposeB: 1,
    lda: 12,
    ldb: 12,
    ldc: 13,
    batches: 6,
    inner: 3,
    aOuter: 120,
    aInner: 4,
    bOuter: 120,
    bInner: 4,
    aOffset: 8,
    bOffset: 4,
    cOffset: 2,
  });
  await check(device, { m: 8, n: 4, k: 8, lda: 16, ldb: 8, ldc: 12, aOffset: 4, cOffset: 4 });
});

await onEachDevice("matmul() of a few rows agrees with float64", async (device) => {
  for (const [transposeA, transposeB] of transposes) {
    for (const m of [1, 4, 5, 6, 7, 8]) {
      await check(device, { m, n: 67, k: 131, transposeA, transposeB, bias: true });
      await check(device, { m, n: 76, k: 300, transposeA, transposeB, beta: 1, batches: 2 });
    }
    // Vectors of 4, which need m to be a multiple of 4 where A is transposed.
    await check(device, { m: 8, n: 132, k: 36, transposeA, transposeB, bias: true, alpha: 0.5 });
  }
  await check(device, { m: 3, n: 7, k: 9, bias: true });
});

await onEachDevice("matmul() agrees with float64 past a tile", async (device) => {
  for (const [transposeA, transposeB] of transposes) {
    await check(device, { m: 132, n: 68, k: 36, transposeA, transposeB, beta: 1 });
    await check(device, { m: 67, n: 131, k: 21, transposeA, transposeB, bias: true, batches: 2 });
    await check(device, { m: 12, n: 68, k: 20, transposeA, transposeB, bias: true });
    await check(device, { m: 37, n: 11, k: 9, transposeA, transposeB, beta: 0.5, batches: 2 });
  }
});

await onEachDevice("matmul() of many tiles agrees with float64", async (device) => {
  // More than half of MANY_WORKGROUPS tiles of 128 x 128: on a GPU the program with the largest.
  await check(device, { m: 132, n: 36, k: 20, transposeA: 1, batches: 67, bias: true });
  await check(device, { m: 132, n: 200, k: 36, transposeB: 1, batches: 34, alpha: 0.5 });
  await check(device, { m: 129, n: 33, k: 19, batches: 67, beta: 1 });
});
