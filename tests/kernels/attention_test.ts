import assert from "node:assert/strict";
import {
  type AttentionParams,
  attentionParams,
  type PartialAttentionParams,
} from "../../kernels/attention/attention.ts";
import { launchAttentionBackward } from "../../kernels/attention/attention_backward.ts";
import { attentionBackwardKv } from "../../kernels/attention/attention_backward_kv.ts";
import { attentionBackwardQ } from "../../kernels/attention/attention_backward_q.ts";
import { attentionForward } from "../../kernels/attention/attention_forward.ts";
import { eachRandom, unit } from "../../kernels/sampling/philox.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Binding, Device } from "../../src/device/device.ts";
import { assertCloseEach } from "../support/compare.ts";
import { documentPositions } from "./case.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { deviceName, onEachDevice, testDevices } from "../support/devices.ts";
import { isDawn } from "../support/gpu.ts";
import { profiledGpu } from "../support/hardware_profile.ts";

type Case = PartialAttentionParams & { mask?: (b: number, j: number) => boolean };
type Arrays = Record<"q" | "k" | "v" | "dO", Float32Array> & { mask?: Int32Array };
type Results = Record<"o" | "dQ" | "dK" | "dV", ArrayLike<number>>;

/** Numbers in [-1, 1), the same on every run. */
function randoms(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return state / 2 ** 31;
  });
}

function inputs(p: AttentionParams, { mask }: Case): Arrays {
  const size = (batch: number, head: number, time: number, heads: number, steps: number) =>
    (p.batch - 1) * batch + (heads - 1) * head + (steps - 1) * time + p.d;
  return {
    q: randoms(size(p.qBatch, p.qHead, p.qTime, p.heads, p.queries), 1),
    k: randoms(p.kStart + size(p.kBatch, p.kHead, p.kTime, p.kvHeads, p.keys), 2),
    v: randoms(p.vStart + size(p.vBatch, p.vHead, p.vTime, p.kvHeads, p.keys), 3),
    dO: randoms(size(p.oBatch, p.oHead, p.oTime, p.heads, p.queries), 4),
    mask: p.documents ? documentPositions(p.batch, p.keys) : mask &&
      Int32Array.from(
        { length: p.batch * p.keys },
        (_, at) => Number(mask(Math.floor(at / p.keys), at % p.keys)),
      ),
  };
}

/** What dropout multiplies the weights with, (batch, heads, queries, keys rounded up to 4). */
function maskOf(p: AttentionParams): Float64Array {
  const mask = new Float64Array(p.batch * p.heads * p.queries * Math.ceil(p.keys / 4) * 4);
  const threshold = Math.fround(p.dropout);
  eachRandom(mask.length, p, (i, bits) => {
    mask[i] = unit(bits) < threshold ? 0 : 1 / (1 - threshold);
  });
  return mask;
}

/** Output and gradients in float64, with the whole matrix of weights. */
function reference(p: AttentionParams, { q, k, v, dO, mask: shown }: Arrays): Results {
  const o = new Float64Array(dO.length);
  const dQ = new Float64Array(q.length);
  const dK = new Float64Array(k.length);
  const dV = new Float64Array(v.length);
  const mask = maskOf(p);
  for (let b = 0; b < p.batch; b++) {
    for (let h = 0; h < p.heads; h++) {
      const kv = Math.floor(h * p.kvHeads / p.heads);
      for (let i = 0; i < p.queries; i++) {
        const qi = b * p.qBatch + h * p.qHead + i * p.qTime;
        const oi = b * p.oBatch + h * p.oHead + i * p.oTime;
        const kj = (j: number) => p.kStart + b * p.kBatch + kv * p.kHead + j * p.kTime;
        const vj = (j: number) => p.vStart + b * p.vBatch + kv * p.vHead + j * p.vTime;
        const weights = new Float64Array(p.keys);
        for (let j = 0; j < p.keys; j++) {
          const position = p.position + i;
          if (p.step && (j + 1) * p.step - 1 > position) continue;
          if (p.block && position - j > (position % p.block)) continue;
          if (p.window && position - j >= p.window) continue;
          if (p.documents && position - j > shown![b * p.keys + i]!) continue;
          if (!p.documents && shown && !shown[b * p.keys + j]) continue;
          let score = 0;
          for (let c = 0; c < p.d; c++) score += q[qi + c] * k[kj(j) + c];
          weights[j] = Math.exp(score * p.scale);
        }
        const sum = weights.reduce((x, y) => x + y, 0);
        if (sum === 0) continue;
        const slopes = new Float64Array(p.keys);
        const row = ((b * p.heads + h) * p.queries + i) * Math.ceil(p.keys / 4) * 4;
        let mean = 0;
        for (let j = 0; j < p.keys; j++) {
          weights[j] /= sum;
          for (let c = 0; c < p.d; c++) {
            o[oi + c] += mask[row + j] * weights[j] * v[vj(j) + c];
            dV[vj(j) + c] += mask[row + j] * weights[j] * dO[oi + c];
            slopes[j] += mask[row + j] * dO[oi + c] * v[vj(j) + c];
          }
          mean += weights[j] * slopes[j];
        }
        for (let j = 0; j < p.keys; j++) {
          const slope = p.scale * weights[j] * (slopes[j] - mean);
          for (let c = 0; c < p.d; c++) {
            dQ[qi + c] += slope * k[kj(j) + c];
            dK[kj(j) + c] += slope * q[qi + c];
          }
        }
      }
    }
  }
  return { o, dQ, dK, dV };
}

type Backward = typeof launchAttentionBackward;

/** Output and gradients from the kernels on a device. */
async function run(
  device: Device,
  p: AttentionParams,
  arrays: Arrays,
  backward: Backward = launchAttentionBackward,
): Promise<Results> {
  const given = (data: Float32Array | Int32Array): Binding => {
    const buffer = device.createBuffer(data.byteLength);
    device.write(buffer, data);
    return {
      buffer,
      dtype: data instanceof Int32Array ? "i32" : "f32",
      offset: 0,
      size: data.length,
    };
  };
  const q = given(arrays.q), k = given(arrays.k), v = given(arrays.v);
  const mask = arrays.mask && given(arrays.mask);
  const dO = given(arrays.dO);
  const o = given(new Float32Array(arrays.dO.length));
  const lse = given(new Float32Array(2 * p.batch * p.heads * p.queries));
  const dQ = given(new Float32Array(arrays.q.length));
  const dK = given(new Float32Array(arrays.k.length));
  const dV = given(new Float32Array(arrays.v.length));
  device.launch(attentionForward, { q, k, v, mask, o, lse }, p);
  backward(device, { q, k, v, o, dO, mask, lse, dQ, dK, dV }, p);
  const results = [o, dQ, dK, dV];
  const bytes = await device.read(results.map(({ buffer, size }) => ({
    buffer,
    byteOffset: 0,
    byteLength: size * 4,
  })));
  for (const { buffer } of [q, k, v, dO, lse, ...results]) device.releaseBuffer(buffer);
  if (mask) device.releaseBuffer(mask.buffer);
  const names = ["o", "dQ", "dK", "dV"];
  return Object.fromEntries(
    names.map((name, i) => [name, new Float32Array(bytes[i].buffer)]),
  ) as unknown as Results;
}

function assertResults(actual: Results, expected: Results, p: AttentionParams): void {
  for (const name of ["o", "dQ", "dK", "dV"] as const) {
    assertCloseEach(actual[name], expected[name], 2e-5, `${name} of ${JSON.stringify(p)}`);
  }
}

async function check(device: Device, options: Case): Promise<void> {
  const { mask: _, ...sizes } = options;
  const p = attentionParams(sizes);
  const arrays = inputs(p, options);
  assertResults(await run(device, p, arrays), reference(p, arrays), p);
}

await onEachDevice("attention agrees with float64 on odd sizes", async (device) => {
  await check(device, { batch: 2, heads: 3, queries: 19, keys: 21, d: 5 });
  await check(device, { batch: 1, heads: 1, queries: 1, keys: 1, d: 5 });
});

await onEachDevice("attention agrees with float64, causal, on even sizes", async (device) => {
  await check(device, { batch: 1, heads: 2, queries: 64, keys: 64, d: 16, step: 1 });
  await check(device, { batch: 2, heads: 2, queries: 70, keys: 70, d: 16, step: 1, scale: 2 });
});

await onEachDevice("attention lets the last query see the last key", async (device) => {
  await check(device, { batch: 2, heads: 2, queries: 3, keys: 23, d: 16, step: 1 });
  // The first queries see nothing: their outputs and gradients are 0.
  await check(device, { batch: 1, heads: 2, queries: 21, keys: 9, d: 16, step: 1 });
});

await onEachDevice(
  "attention keeps to the own block, and to every so many keys",
  async (device) => {
    const mask = (b: number, j: number): boolean => (j + b) % 4 !== 0;
    const local = { batch: 2, heads: 2, queries: 70, keys: 70, d: 16, step: 1, block: 12 };
    await check(device, local);
    await check(device, { ...local, queries: 20, kvHeads: 1, mask });
    const columns = { batch: 2, heads: 2, queries: 140, keys: 10, d: 16, step: 14, position: 0 };
    await check(device, columns);
    await check(device, { ...columns, queries: 33, position: 100, kvHeads: 1, mask });
    const apart = { kStart: 32, kTime: 48, kHead: 480, kBatch: 960, vStart: 16, vTime: 32 };
    await check(device, { ...columns, ...apart, vHead: 320, vBatch: 640 });
  },
);

await onEachDevice("attention keeps to a window of the last keys", async (device) => {
  const mask = (b: number, j: number): boolean => (j + b) % 5 !== 0;
  const sizes = { batch: 2, heads: 4, kvHeads: 2, queries: 70, keys: 70, d: 16, step: 1 };
  await check(device, { ...sizes, window: 1 });
  await check(device, { ...sizes, window: 13 });
  await check(device, { ...sizes, window: 33, keys: 90, queries: 67, mask });
  await check(device, { ...sizes, window: 21, keys: 41 }); // the first queries see nothing
  await check(device, { ...sizes, window: 9, queries: 3, keys: 150, mask });
  await check(device, { ...sizes, window: 130, queries: 1, keys: 300 });
});

await onEachDevice("attention keeps to the own document", async (device) => {
  const sizes = { batch: 2, heads: 4, kvHeads: 2, d: 16, step: 1, documents: 1 };
  await check(device, { ...sizes, queries: 140, keys: 140 });
  await check(device, { ...sizes, queries: 67, keys: 67, window: 9 });
});

await onEachDevice("attention skips padded keys and shares key heads", async (device) => {
  const mask = (b: number, j: number): boolean => b !== 1 && (j + b) % 3 !== 0;
  const sizes = { batch: 3, heads: 6, kvHeads: 2, queries: 11, keys: 13, d: 16 };
  await check(device, { ...sizes, mask });
  await check(device, { ...sizes, mask, step: 1 });
});

await onEachDevice("attention reads heads inside rows", async (device) => {
  const [heads, time, d] = [3, 18, 16];
  const strides = { heads, queries: time, keys: time, d, batch: 2, step: 1 };
  await check(device, {
    ...strides,
    qBatch: time * 3 * heads * d,
    qHead: d,
    qTime: 3 * heads * d,
    kBatch: time * heads * d,
    kHead: d,
    kTime: heads * d,
    oBatch: time * heads * d,
    oHead: d,
    oTime: heads * d,
  });
});

await onEachDevice("attention of no keys is 0", async (device) => {
  const p = attentionParams({ batch: 1, heads: 2, queries: 3, keys: 0, d: 16 });
  const arrays = inputs({ ...p, keys: 1 }, p);
  const results = await run(device, p, { ...arrays, k: arrays.k.fill(NaN) });
  assert.deepEqual([...results.o as Float32Array], Array(96).fill(0));
  assert.deepEqual([...results.dQ as Float32Array], Array(96).fill(0));
});

Deno.test("attention's references agree with float64", async () => {
  const device = CpuDevice.open({ threads: 1, simd: false });
  await check(device, { batch: 2, heads: 4, kvHeads: 2, queries: 9, keys: 12, d: 6, step: 1 });
  await check(device, { batch: 2, heads: 2, queries: 5, keys: 3, d: 7, mask: (b, j) => j > b });
  await check(device, { batch: 2, heads: 2, queries: 40, keys: 40, d: 7, step: 1, documents: 1 });
  const sizes = { batch: 1, heads: 2, kvHeads: 1, queries: 5, keys: 7, d: 6, dropout: 0.4 };
  const p = attentionParams(sizes);
  const arrays = inputs(p, sizes);
  const parts: Backward = (device, { o, dQ, dK, dV, ...rest }, p) => {
    device.launch(attentionBackwardQ, { ...rest, o, dQ }, p);
    device.launch(attentionBackwardKv, { ...rest, dK, dV }, p);
  };
  assertResults(await run(device, p, arrays, parts), reference(p, arrays), p);
  device.close();
});

await onEachDevice(
  "attention agrees with float64 past a tile of keys or queries",
  async (device) => {
    const mask = (b: number, j: number): boolean => (j + b) % 5 !== 0;
    const sizes = { batch: 2, heads: 4, kvHeads: 2, queries: 67, keys: 73, d: 8, mask };
    for (const limit of [{ step: 1 }, { step: 1, block: 20 }, { step: 4, position: 200 }]) {
      await check(device, { ...sizes, ...limit });
    }
  },
);

async function checkDropout(device: Device): Promise<void> {
  const mask = (b: number, j: number): boolean => (j + b) % 5 !== 0;
  const stream = { dropout: 0.3, seed_low: 5, seed_high: 7, block_low: 2 ** 32 - 9, block_high: 1 };
  const sizes = { batch: 2, heads: 4, kvHeads: 2, queries: 67, keys: 73, d: 8, mask, ...stream };
  await check(device, { ...sizes, step: 1 });
  await check(device, { ...sizes, step: 1, block: 21 }); // begins within a block of random numbers
  await check(device, { ...sizes, step: 1, window: 21 });
  await check(device, { ...sizes, step: 4, position: 200 });
  await check(device, { ...sizes, queries: 3, dropout: 0.9 });
}

await onEachDevice("attention that drops weights agrees with float64", checkDropout);

Deno.test({
  name: "attention that drops weights agrees with float64 where workgroup memory is short",
  ignore: isDawn || (await testDevices()).length === 1,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const info = { description: "tiny memory", subgroupMinSize: 32, subgroupMaxSize: 32 };
    const limits = { maxComputeWorkgroupStorageSize: 2048 };
    const gpu = profiledGpu(() => ({ info, limits }));
    using device = await WebGpuDevice.open({ gpu });
    await checkDropout(device);
  },
});

await onEachDevice("attention of a few queries agrees with float64", async (device) => {
  const mask = (b: number, j: number): boolean => (j + b) % 5 !== 0;
  const few = { batch: 2, heads: 4, kvHeads: 2, queries: 3, keys: 150, d: 8, step: 1, mask };
  for (
    const limit of [{}, { block: 70 }, { step: 4, position: 600 }, { queries: 1, d: 11 }]
  ) {
    await check(device, { ...few, ...limit });
  }
});

await onEachDevice(
  "attention agrees with float64 for a head that takes smaller tiles",
  async (device) => {
    // On 16 KiB of workgroup memory this takes tiles of 24 keys. A software adapter compiles the unrolled programs
    // for longer with every element of a head, and for a minute where they are those with subgroups.
    if (deviceName(device) === "webgpu" && (device as WebGpuDevice).software) return;
    await check(device, { batch: 1, heads: 2, kvHeads: 1, queries: 35, keys: 35, d: 68, step: 1 });
  },
);

await onEachDevice("attention reads q, k, v and o by strides of their own", async (device) => {
  const [batch, heads, kvHeads, d] = [2, 4, 2, 8];
  for (const time of [70, 3]) {
    for (const odd of [0, 1]) {
      // Rows of q, k, v and o have gaps of their own, heads lie inside rows or around them.
      const [q, k, v, o] = [36, 20, 24, 40].map((width) => width + odd);
      await check(device, {
        ...{ batch, heads, kvHeads, queries: time, keys: time + 3, d, step: 1 },
        ...{ qHead: d, qTime: q, qBatch: q * time + 4 },
        ...{ kHead: d, kTime: k, kBatch: k * (time + 5), kStart: 4 },
        ...{ vHead: v * (time + 4), vTime: v, vBatch: 2 * v * (time + 4) + 8, vStart: 12 },
        ...{ oHead: d, oTime: o, oBatch: o * time + 12 },
      });
    }
  }
});

Deno.test("attentionParams() refuses heads that do not fit", () => {
  const sizes = { batch: 1, queries: 1, keys: 1 };
  assert.throws(() => attentionParams({ ...sizes, heads: 1, d: 257 }), RangeError);
  assert.throws(() => attentionParams({ ...sizes, heads: 6, kvHeads: 4, d: 8 }), RangeError);
  const many = { batch: 2 ** 12, heads: 1, d: 8, queries: 2 ** 12, keys: 2 ** 11 };
  assert.throws(() => attentionParams({ ...many, dropout: 0.5 }), /2\^34 weights with dropout/);
  attentionParams(many);
});
