import assert from "node:assert/strict";
import {
  type AttentionOptions,
  type AttentionParams,
  attentionParams,
} from "../../kernels/attention.ts";
import { launchAttentionBackward } from "../../kernels/attention_backward.ts";
import { attentionBackwardKv } from "../../kernels/attention_backward_kv.ts";
import { attentionBackwardQ } from "../../kernels/attention_backward_q.ts";
import { attentionForward } from "../../kernels/attention_forward.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import type { Binding, Device } from "../../src/device/device.ts";
import { assertCloseEach } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

type Case = AttentionOptions & { mask?: (b: number, j: number) => boolean };
type Arrays = Record<"q" | "k" | "v" | "grad_o", Float32Array> & { key_valid?: Int32Array };
type Results = Record<"o" | "grad_q" | "grad_k" | "grad_v", ArrayLike<number>>;

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
    q: randoms(size(p.q_batch, p.q_head, p.q_time, p.heads, p.queries), 1),
    k: randoms(p.k_start + size(p.k_batch, p.k_head, p.k_time, p.kv_heads, p.keys), 2),
    v: randoms(p.v_start + size(p.v_batch, p.v_head, p.v_time, p.kv_heads, p.keys), 3),
    grad_o: randoms(size(p.o_batch, p.o_head, p.o_time, p.heads, p.queries), 4),
    key_valid: mask &&
      Int32Array.from(
        { length: p.batch * p.keys },
        (_, at) => Number(mask(Math.floor(at / p.keys), at % p.keys)),
      ),
  };
}

/** Output and gradients in float64, with the whole matrix of weights. */
function reference(p: AttentionParams, { q, k, v, grad_o, key_valid }: Arrays): Results {
  const o = new Float64Array(grad_o.length);
  const grad_q = new Float64Array(q.length);
  const grad_k = new Float64Array(k.length);
  const grad_v = new Float64Array(v.length);
  for (let b = 0; b < p.batch; b++) {
    for (let h = 0; h < p.heads; h++) {
      const kv = Math.floor(h * p.kv_heads / p.heads);
      for (let i = 0; i < p.queries; i++) {
        const qi = b * p.q_batch + h * p.q_head + i * p.q_time;
        const oi = b * p.o_batch + h * p.o_head + i * p.o_time;
        const kj = (j: number) => p.k_start + b * p.k_batch + kv * p.k_head + j * p.k_time;
        const vj = (j: number) => p.v_start + b * p.v_batch + kv * p.v_head + j * p.v_time;
        const weights = new Float64Array(p.keys);
        for (let j = 0; j < p.keys; j++) {
          const position = p.past + i;
          if (p.step && (j + 1) * p.step - 1 > position) continue;
          if (p.block && position - j > (position % p.block)) continue;
          if (key_valid && !key_valid[b * p.keys + j]) continue;
          let score = 0;
          for (let c = 0; c < p.d; c++) score += q[qi + c] * k[kj(j) + c];
          weights[j] = Math.exp(score * p.scale);
        }
        const sum = weights.reduce((x, y) => x + y, 0);
        if (sum === 0) continue;
        const slopes = new Float64Array(p.keys);
        let mean = 0;
        for (let j = 0; j < p.keys; j++) {
          weights[j] /= sum;
          for (let c = 0; c < p.d; c++) {
            o[oi + c] += weights[j] * v[vj(j) + c];
            grad_v[vj(j) + c] += weights[j] * grad_o[oi + c];
            slopes[j] += grad_o[oi + c] * v[vj(j) + c];
          }
          mean += weights[j] * slopes[j];
        }
        for (let j = 0; j < p.keys; j++) {
          const slope = p.scale * weights[j] * (slopes[j] - mean);
          for (let c = 0; c < p.d; c++) {
            grad_q[qi + c] += slope * k[kj(j) + c];
            grad_k[kj(j) + c] += slope * q[qi + c];
          }
        }
      }
    }
  }
  return { o, grad_q, grad_k, grad_v };
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
  const key_valid = arrays.key_valid && given(arrays.key_valid);
  const grad_o = given(arrays.grad_o);
  const o = given(new Float32Array(arrays.grad_o.length));
  const stats = given(new Float32Array(2 * p.batch * p.heads * p.queries));
  const grad_q = given(new Float32Array(arrays.q.length));
  const grad_k = given(new Float32Array(arrays.k.length));
  const grad_v = given(new Float32Array(arrays.v.length));
  device.launch(attentionForward, { q, k, v, key_valid, o, stats }, p);
  backward(device, { q, k, v, o, grad_o, key_valid, stats, grad_q, grad_k, grad_v }, p);
  const results = [o, grad_q, grad_k, grad_v];
  const bytes = await device.read(results.map(({ buffer, size }) => ({
    buffer,
    byteOffset: 0,
    byteLength: size * 4,
  })));
  for (const { buffer } of [q, k, v, grad_o, stats, ...results]) device.releaseBuffer(buffer);
  if (key_valid) device.releaseBuffer(key_valid.buffer);
  const names = ["o", "grad_q", "grad_k", "grad_v"];
  return Object.fromEntries(
    names.map((name, i) => [name, new Float32Array(bytes[i].buffer)]),
  ) as unknown as Results;
}

function assertResults(actual: Results, expected: Results, p: AttentionParams): void {
  for (const name of ["o", "grad_q", "grad_k", "grad_v"] as const) {
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
    await check(device, { ...local, queries: 20, kv_heads: 1, mask });
    const columns = { batch: 2, heads: 2, queries: 140, keys: 10, d: 16, step: 14, past: 0 };
    await check(device, columns);
    await check(device, { ...columns, queries: 33, past: 100, kv_heads: 1, mask });
    const apart = { k_start: 32, k_time: 48, k_head: 480, k_batch: 960, v_start: 16, v_time: 32 };
    await check(device, { ...columns, ...apart, v_head: 320, v_batch: 640 });
  },
);

await onEachDevice("attention skips padded keys and shares key heads", async (device) => {
  const mask = (b: number, j: number): boolean => b !== 1 && (j + b) % 3 !== 0;
  const sizes = { batch: 3, heads: 6, kv_heads: 2, queries: 11, keys: 13, d: 16 };
  await check(device, { ...sizes, mask });
  await check(device, { ...sizes, mask, step: 1 });
});

await onEachDevice("attention reads heads inside rows", async (device) => {
  const [heads, time, d] = [3, 18, 16];
  const strides = { heads, queries: time, keys: time, d, batch: 2, step: 1 };
  await check(device, {
    ...strides,
    q_batch: time * 3 * heads * d,
    q_head: d,
    q_time: 3 * heads * d,
    k_batch: time * heads * d,
    k_head: d,
    k_time: heads * d,
    o_batch: time * heads * d,
    o_head: d,
    o_time: heads * d,
  });
});

await onEachDevice("attention of no keys is 0", async (device) => {
  const p = attentionParams({ batch: 1, heads: 2, queries: 3, keys: 0, d: 16 });
  const arrays = inputs({ ...p, keys: 1 }, p);
  const results = await run(device, p, { ...arrays, k: arrays.k.fill(NaN) });
  assert.deepEqual([...results.o as Float32Array], Array(96).fill(0));
  assert.deepEqual([...results.grad_q as Float32Array], Array(96).fill(0));
});

Deno.test("attention's references agree with float64", async () => {
  const device = CpuDevice.open({ threads: 1, simd: false });
  await check(device, { batch: 2, heads: 4, kv_heads: 2, queries: 9, keys: 12, d: 6, step: 1 });
  await check(device, { batch: 2, heads: 2, queries: 5, keys: 3, d: 7, mask: (b, j) => j > b });
  const sizes = { batch: 1, heads: 2, kv_heads: 1, queries: 5, keys: 7, d: 6 };
  const p = attentionParams(sizes);
  const arrays = inputs(p, sizes);
  const parts: Backward = (device, { o, grad_q, grad_k, grad_v, ...rest }, p) => {
    device.launch(attentionBackwardQ, { ...rest, o, grad_q }, p);
    device.launch(attentionBackwardKv, { ...rest, grad_k, grad_v }, p);
  };
  assertResults(await run(device, p, arrays, parts), reference(p, arrays), p);
  device.close();
});

await onEachDevice(
  "attention agrees with float64 past a tile of keys or queries",
  async (device) => {
    const mask = (b: number, j: number): boolean => (j + b) % 5 !== 0;
    const sizes = { batch: 2, heads: 4, kv_heads: 2, queries: 67, keys: 73, d: 8, mask };
    for (const limit of [{ step: 1 }, { step: 1, block: 20 }, { step: 4, past: 200 }]) {
      await check(device, { ...sizes, ...limit });
    }
  },
);

await onEachDevice("attention of a few queries agrees with float64", async (device) => {
  const mask = (b: number, j: number): boolean => (j + b) % 5 !== 0;
  const few = { batch: 2, heads: 4, kv_heads: 2, queries: 3, keys: 150, d: 8, step: 1, mask };
  for (
    const limit of [{}, { block: 70 }, { step: 4, past: 600 }, { d: 11 }, { queries: 1, d: 64 }]
  ) {
    await check(device, { ...few, ...limit });
  }
});

await onEachDevice("attention agrees with float64 for heads of every size", async (device) => {
  // On 16 KiB of workgroup memory these take tiles of 32, 24, 16 and 8 keys.
  for (const d of [64, 80, 100, 128, 130, 256]) {
    await check(device, { batch: 1, heads: 2, kv_heads: 1, queries: 35, keys: 35, d, step: 1 });
    await check(device, { batch: 1, heads: 2, kv_heads: 1, queries: 2, keys: 67, d });
  }
});

await onEachDevice("attention reads q, k, v and o by strides of their own", async (device) => {
  const [batch, heads, kv_heads, d] = [2, 4, 2, 8];
  for (const time of [70, 3]) {
    for (const odd of [0, 1]) {
      // Rows of q, k, v and o have gaps of their own, heads lie inside rows or around them.
      const [q, k, v, o] = [36, 20, 24, 40].map((width) => width + odd);
      await check(device, {
        ...{ batch, heads, kv_heads, queries: time, keys: time + 3, d, step: 1 },
        ...{ q_head: d, q_time: q, q_batch: q * time + 4 },
        ...{ k_head: d, k_time: k, k_batch: k * (time + 5), k_start: 4 },
        ...{ v_head: v * (time + 4), v_time: v, v_batch: 2 * v * (time + 4) + 8, v_start: 12 },
        ...{ o_head: d, o_time: o, o_batch: o * time + 12 },
      });
    }
  }
});

Deno.test("attentionParams() refuses heads that do not fit", () => {
  const sizes = { batch: 1, queries: 1, keys: 1 };
  assert.throws(() => attentionParams({ ...sizes, heads: 1, d: 257 }), RangeError);
  assert.throws(() => attentionParams({ ...sizes, heads: 6, kv_heads: 4, d: 8 }), RangeError);
});
