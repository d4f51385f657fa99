import assert from "node:assert/strict";
import { matmul } from "../../kernels/gemm/matmul.ts";
import { matmulParams, type PartialMatmulParams } from "../../kernels/gemm/params.ts";
import { launchAttentionBackward } from "../../kernels/attention/attention_backward.ts";
import { attentionForward } from "../../kernels/attention/attention_forward.ts";
import { attentionParams, type PartialAttentionParams } from "../../kernels/attention/attention.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import type { Binding } from "../../src/device/device.ts";
import type { DType, TypedArray } from "../../src/device/dtype.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { assertCloseEach } from "../support/compare.ts";
import { isDawn } from "../support/gpu.ts";
import { matrixUnitGpu } from "../support/matrix_unit_gpu.ts";

/** Numbers in [-1, 1) that f16 holds exactly, so that only sums round. */
function halves(count: number, seed: number): Float16Array<ArrayBuffer> {
  let state = seed;
  return Float16Array.from({ length: count }, () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return (state >> 21) / 2 ** 10;
  });
}

/** A product on the device against float64. */
async function check(
  device: WebGpuDevice,
  options: PartialMatmulParams & { c?: DType },
): Promise<void> {
  const { c: dtype = "f32", ...sizes } = options;
  const p = matmulParams(sizes);
  const { m, n, k, batches, lda, ldb, transposeA, transposeB, alpha, beta } = p;
  const a = halves(batches * m * k, 1), b = halves(batches * n * k, 2), bias = halves(n, 3);
  const c = halves(batches * m * n, 4);
  const rowSums = new Float32Array(batches * m);
  const expectedRowSums = Float64Array.from(rowSums, (_, at) => {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a[Math.floor(at / m) * m * k + l * lda + at % m];
    return alpha * sum;
  });
  const expected = Float64Array.from(c, (before, at) => {
    const batch = Math.floor(at / (m * n)), i = Math.floor(at / n) % m, j = at % n;
    let sum = 0;
    for (let l = 0; l < k; l++) {
      sum += a[batch * m * k + (transposeA ? l * lda + i : i * lda + l)] *
        b[batch * n * k + (transposeB ? j * ldb + l : l * ldb + j)];
    }
    return alpha * sum + bias[j] + beta * before;
  });
  const buffers: Binding[] = [];
  const given = (data: TypedArray, dtype: DType): Binding => {
    const buffer = device.createBuffer(data.byteLength);
    device.write(buffer, data);
    const binding = { buffer, dtype, offset: 0, size: data.length };
    buffers.push(binding);
    return binding;
  };
  const out = dtype === "f16" ? c : Float32Array.from(c);
  const bindings = { a: given(a, "f16"), b: given(b, "f16"), c: given(out, dtype) };
  const sums = transposeA ? given(rowSums, "f32") : undefined;
  device.launch(matmul, { ...bindings, bias: given(bias, "f16"), rowSums: sums }, p);
  const region = ({ buffer }: Binding, { byteLength }: TypedArray) => ({
    ...{ buffer, byteOffset: 0, byteLength },
  });
  const [{ buffer }, foundSums] = await device.read([
    region(bindings.c, out),
    ...sums ? [region(sums, rowSums)] : [],
  ]);
  buffers.forEach((binding) => device.releaseBuffer(binding.buffer));
  const actual = dtype === "f16" ? new Float16Array(buffer) : new Float32Array(buffer);
  const tolerance = dtype === "f16" ? 4e-3 * Math.sqrt(k) : 1e-6 * k;
  assertCloseEach(actual, expected, tolerance, `c of ${JSON.stringify(options)}`);
  if (!foundSums) return;
  const actualSums = new Float32Array(foundSums.buffer);
  assertCloseEach(actualSums, expectedRowSums, 1e-6 * k, `row sums of ${JSON.stringify(options)}`);
}

Deno.test({
  name: "matmul() on matrix units agrees with float64",
  // SwiftShader, which Dawn is tested on, has no f16.
  ignore: isDawn,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const used = new Set<string>();
    const device = await WebGpuDevice.open({ gpu: matrixUnitGpu(used) });
    assert(device.matrixUnits);
    for (const [transposeA, transposeB] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      const transposes = { transposeA, transposeB };
      // Edges in all directions, a k that ends inside a tile, and products with gaps.
      await check(device, { m: 76, n: 84, k: 68, ...transposes, alpha: 0.5, beta: 1 });
    }
    await check(device, { m: 20, n: 132, k: 4, transposeB: 1, batches: 3, c: "f16" });
    assert.deepEqual([...used], ["matmul"]);
    device.close();
  },
});

/** Output, lse and gradients of an attention on a device, in f32. */
async function attend(
  device: Device,
  options: PartialAttentionParams & { valid?: boolean },
): Promise<Float32Array[]> {
  const { valid, ...sizes } = options;
  const p = attentionParams(sizes);
  const given = (data: TypedArray, dtype: DType): Binding => {
    const buffer = device.createBuffer(data.byteLength);
    device.write(buffer, data);
    return { buffer, dtype, offset: 0, size: data.length };
  };
  const { batch, heads, kvHeads, queries, keys, d } = p;
  const [ofQueries, ofKeys] = [batch * heads * queries * d, batch * kvHeads * keys * d];
  const q = given(halves(ofQueries, 1), "f16"), k = given(halves(ofKeys, 2), "f16");
  const v = given(halves(ofKeys, 3), "f16"), dO = given(halves(ofQueries, 4), "f16");
  const mask = Int32Array.from({ length: batch * keys }, (_, i) => Number(i % 3 !== 1));
  const keyValid = valid ? given(mask, "i32") : undefined;
  const [o, dQ] = [1, 2].map(() => given(new Float16Array(ofQueries), "f16"));
  const [dK, dV] = [1, 2].map(() => given(new Float16Array(ofKeys), "f16"));
  const lse = given(new Float32Array(2 * batch * heads * queries), "f32");
  device.launch(attentionForward, { q, k, v, keyValid, o, lse }, p);
  launchAttentionBackward(device, { q, k, v, o, dO, keyValid, lse, dQ, dK, dV }, p);
  const bytes = await device.read([o, dQ, dK, dV].map(({ buffer, size }) => (
    { buffer, byteOffset: 0, byteLength: 2 * size }
  )));
  return bytes.map(({ buffer }) => Float32Array.from(new Float16Array(buffer)));
}

Deno.test({
  name: "attention on matrix units agrees with the CPU's",
  ignore: isDawn,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const used = new Set<string>();
    const device = await WebGpuDevice.open({ gpu: matrixUnitGpu(used) });
    const cpu = CpuDevice.open({ threads: 1, simd: false });
    const sizes = { batch: 2, heads: 2, kvHeads: 1, queries: 70, keys: 75, d: 16 };
    for (
      const more of [
        { step: 1 },
        { valid: true },
        { step: 1, block: 20, queries: 33, valid: true },
        { step: 1, window: 22, queries: 65, valid: true },
        { step: 1, keys: 20, queries: 41 }, // the first queries see nothing
        { step: 1, block: 21, valid: true, dropout: 0.4, seed_low: 3, block_low: 2 ** 32 - 5 },
      ]
    ) {
      const options = { ...sizes, ...more };
      const expected = await attend(cpu, options);
      const actual = await attend(device, options);
      expected.forEach((values, i) => {
        const what = `${["o", "dQ", "dK", "dV"][i]} of ${JSON.stringify(options)}`;
        assertCloseEach(actual[i], values, 4e-3, what);
      });
    }
    assert.equal(used.size, 3, [...used].join());
    device.close();
    cpu.close();
  },
});
