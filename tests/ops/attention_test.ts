import assert from "node:assert/strict";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import {
  attention,
  attentionWeights,
  selfAttention,
  sparseAttention,
} from "../../src/ops/attention.ts";
import { add, cast, mul } from "../../src/ops/elementwise.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { concat, permute, reshape, slice, split } from "../../src/ops/shape.ts";
import { dropout, randn } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { ones, tensor, zeros } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertTensorsClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { StubGpu } from "../support/stub_gpu.ts";

await onEachDevice("attention() equals the product with its stored weights", async (device) => {
  for (const layout of ["BHTD", "BTHD"] as const) {
    using _scope = new Scope();
    const random = new RandomState(7);
    const shape = (heads: number, time: number) =>
      layout === "BHTD" ? [2, heads, time, 8] : [2, time, heads, 8];
    const q = randn(shape(4, 9), { device, random });
    const [k, v] = [
      randn(shape(4, 13), { device, random }),
      randn(shape(4, 13), { device, random }),
    ];
    for (const x of [q, k, v]) x.requiresGrad = true;
    const keyValid = tensor(Int32Array.from({ length: 26 }, (_, i) => i % 4 === 2 ? 0 : 1), {
      shape: [2, 13],
      device,
    });
    const options = { causal: true, keyValid, layout };
    const inOrder = (x: Tensor) => layout === "BHTD" ? x : permute(x, [0, 2, 1, 3]);
    const y = attention(q, k, v, options);
    const weights = attentionWeights(q, k, options);
    assert.deepEqual(weights.shape, [2, 4, 9, 13]);
    const product = inOrder(matmul(weights, inOrder(v)));
    await assertTensorsClose(y, product);

    const dy = randn(y.shape, { device, random });
    sum(mul(y, dy)).backward();
    const grads = [q, k, v].map((x) => x.grad!.alias());
    for (const x of [q, k, v]) x.grad = null;
    sum(mul(product, dy)).backward();
    for (const [i, x] of [q, k, v].entries()) await assertTensorsClose(x.grad!, grads[i], 5e-5);
  }
});

await onEachDevice("selfAttention() is attention() of its three parts", async (device) => {
  for (const causal of [false, true]) {
    using _scope = new Scope();
    const random = new RandomState(8);
    const [heads, size] = [3, 5]; // parts that begin where nothing can be bound
    const qkv = randn([2, 7, 3 * heads * size], { device, random });
    qkv.requiresGrad = true;
    const y = selfAttention(qkv, { heads, causal, scale: 0.3 });
    const parts = split(qkv, heads * size, 2).map((x) => reshape(x, [2, 7, heads, size]));
    const [q, k, v] = parts;
    const expected = reshape(
      attention(q, k, v, { causal, scale: 0.3, layout: "BTHD" }),
      [2, 7, heads * size],
    );
    await assertTensorsClose(y, expected);
    const dy = randn(y.shape, { device, random });
    sum(mul(y, dy)).backward();
    const grad = qkv.grad!.alias();
    qkv.grad = null;
    sum(mul(expected, dy)).backward();
    await assertTensorsClose(qkv.grad!, grad, 1e-5);
  }
  const qkv = randn([2, 7, 30], { device });
  const positions = tensor([[0, 1, 2, 0, 1, 0, 0], [0, 0, 1, 2, 3, 4, 5]], {
    device,
    dtype: "i32",
  });
  const parts = split(qkv, 10, 2).map((x) => reshape(x, [2, 7, 5, 2]));
  const options = { causal: true, positions };
  await assertTensorsClose(
    selfAttention(qkv, { ...options, heads: 5 }),
    reshape(
      attention(parts[0], parts[1], parts[2], { ...options, layout: "BTHD" }),
      [2, 7, 10],
    ),
  );
  assert.throws(
    () => selfAttention(qkv, { heads: 4 }),
    /3 times 4 heads divide but got \[2, 7, 30\]/,
  );
});

await onEachDevice(
  "attention() within a window equals the product with its weights",
  async (device) => {
    using _scope = new Scope();
    const random = new RandomState(5), [time, window] = [21, 6];
    const [q, k, v] = [1, 2, 3].map(() => randn([2, 2, time, 8], { device, random }));
    for (const x of [q, k, v]) x.requiresGrad = true;
    const y = attention(q, k, v, { causal: true, window });
    const weights = attentionWeights(q, k, { causal: true, window });
    const seen = (await weights.data()).map(Number).map(Math.sign);
    assert.ok(seen.every((flag, at) => {
      const [query, key] = [Math.floor(at / time) % time, at % time];
      return flag === Number(key <= query && key > query - window);
    }));
    const expected = matmul(weights, v);
    await assertTensorsClose(y, expected);
    const dy = randn(y.shape, { device, random });
    sum(mul(y, dy)).backward();
    const grads = [q, k, v].map((x) => x.grad!.alias());
    for (const x of [q, k, v]) x.grad = null;
    sum(mul(expected, dy)).backward();
    for (const [i, x] of [q, k, v].entries()) await assertTensorsClose(x.grad!, grads[i], 2e-5);
    // Rows that stand at positions of their own, in a cache with room for more.
    const positions = tensor([9, 20], { device, dtype: "i32" });
    const at = (x: Tensor, b: number, t: number) => slice(x, [[b, b + 1], [0, 2], [t, t + 1]]);
    const last = noGrad(() => {
      const rows = concat([at(q, 0, 9), at(q, 1, 20)]);
      return attention(rows, k, v, { causal: true, window, positions, keyLength: time });
    });
    await assertTensorsClose(last, noGrad(() => concat([at(y, 0, 9), at(y, 1, 20)])));
    assert.throws(() => attention(q, k, v, { window }), /window goes with causal attention only/);
    assert.throws(
      () => attention(q, k, v, { causal: true, window: 0 }),
      RangeError("attention: expected a window of 1 or more but got 0"),
    );
  },
);

await onEachDevice(
  "attention() within documents equals the product with its weights, and its gradients finite differences",
  async (device) => {
    using _scope = new Scope();
    const random = new RandomState(5), [batch, heads, time] = [2, 2, 21];
    const [q, k, v, dy] = [1, 2, 3, 4].map(() =>
      randn([batch, heads, time, 8], { device, random })
    );
    const inputs = [q, k, v];
    for (const x of inputs) x.requiresGrad = true;
    const places = [0, 4].flatMap((first) =>
      Array.from({ length: time }, (_, i) => i < first ? i : (i - first) % 9)
    );
    const positions = tensor(Int32Array.from(places), { device, shape: [batch, time] });
    for (const window of [undefined, 4]) {
      const options = { causal: true, window, positions };
      const weights = attentionWeights(q, k, options);
      const seen = (await weights.data()).map(Number).map(Math.sign);
      assert.ok(seen.every((flag, at) => {
        const [b, i, j] = [
          Math.floor(at / (heads * time * time)),
          Math.floor(at / time) % time,
          at % time,
        ];
        const first = Math.max(i - places[b * time + i], i + 1 - (window ?? Infinity));
        return flag === Number(j >= first && j <= i);
      }));
      await assertTensorsClose(attention(q, k, v, options), matmul(weights, v));
      const loss = ([q, k, v]: Tensor[]) => {
        const dropout = { p: 0.3, random: new RandomState(6) };
        return sum(mul(attention(q, k, v, { ...options, dropout }), dy));
      };
      for (const x of inputs) x.grad = null;
      loss(inputs).backward();
      await assertSlopes(loss, inputs, random);
    }
    const refused: [Parameters<typeof attention>[3], RegExp][] = [
      [{ positions }, /attention: expected causal attention with positions but got causal: false/],
      [{ causal: true, positions, keyLength: 20 }, /expected positions \[2\] of i32 but got/],
      [
        { causal: true, positions: slice(positions, [[0], [0, 20]]) },
        /expected positions \[2\] or \[2, 21\] of i32 but got/,
      ],
    ];
    for (const [options, message] of refused) {
      assert.throws(() => attention(q, k, v, options), message);
    }
  },
);

await onEachDevice("attentionWeights() are zero where nothing may be seen", async (device) => {
  using _scope = new Scope();
  const q = randn([1, 2, 3, 4], { device });
  const keyValid = tensor([[0, 0, 0]], { device, dtype: "i32" });
  const weights = await attentionWeights(q, q, { keyValid }).data();
  assert.ok(weights.every((value) => value === 0));
  const y = await attention(q, q, q, { keyValid }).data();
  assert.ok(y.every((value) => value === 0));
});

await onEachDevice("attention() shares keys among groups of heads", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(3);
  const q = randn([1, 4, 5, 8], { device, random });
  const [k, v] = [randn([1, 2, 5, 8], { device, random }), randn([1, 2, 5, 8], { device, random })];
  const weights = attentionWeights(q, k);
  const values = await v.data();
  const mixed = await attention(q, k, v).data();
  const all = await weights.data();
  for (let h = 0; h < 4; h++) {
    for (let i = 0; i < 5; i++) {
      for (let c = 0; c < 8; c++) {
        let expected = 0;
        for (let j = 0; j < 5; j++) {
          expected += all[(h * 5 + i) * 5 + j] * values[(Math.floor(h / 2) * 5 + j) * 8 + c];
        }
        assert.ok(Math.abs(mixed[(h * 5 + i) * 8 + c] - expected) < 1e-5);
      }
    }
  }
});

await onEachDevice("attention() sees the first keyLength keys of a cache", async (device) => {
  for (const layout of ["BHTD", "BTHD"] as const) {
    for (const queries of [1, 5]) {
      using _scope = new Scope();
      const random = new RandomState(11);
      const time = layout === "BHTD" ? 2 : 1;
      const shape = (heads: number, steps: number) =>
        layout === "BHTD" ? [3, heads, steps, 8] : [3, steps, heads, 8];
      const q = randn(shape(4, queries), { device, random });
      const [k, v] = [1, 2].map(() => randn(shape(2, 11), { device, random }));
      for (const x of [q, k, v]) x.requiresGrad = true;
      const flags = Int32Array.from({ length: 33 }, (_, i) => i % 5 === 1 ? 0 : 1);
      const keyValid = tensor(flags, { shape: [3, 11], device });
      const first = (x: Tensor) => slice(x, [...Array(time).fill([0]), [0, 7]]);
      const short = slice(keyValid, [[0], [0, 7]]);
      const dy = randn(q.shape, { device, random });
      const grads = (y: Tensor): Tensor[] => {
        sum(mul(y, dy)).backward();
        return [q, k, v].map((x) => {
          const grad = x.grad!.alias();
          x.grad = null;
          return grad;
        });
      };
      const options = { causal: true, layout };
      const expected = attention(q, first(k), first(v), { ...options, keyValid: short });
      const expectedGrads = grads(expected);
      for (const flags of [short, keyValid]) {
        const cached = { ...options, keyLength: 7, keyValid: flags };
        const y = attention(q, k, v, cached);
        await assertTensorsClose(y, expected);
        for (const [i, grad] of grads(y).entries()) {
          await assertTensorsClose(grad, expectedGrads[i]);
        }
        const weights = attentionWeights(q, first(k), { ...options, keyValid: short });
        await assertTensorsClose(attentionWeights(q, k, cached), weights);
      }
    }
  }
});

/** The factors (B, H, Tq, Tk) of dropout, drawn in rows of whole blocks of four numbers. */
function maskOf([B, H, Tq, Tk]: number[], p: number, random: RandomState, like: Tensor): Tensor {
  const rows = ones([B, H, Tq, Math.ceil(Tk / 4) * 4], { device: like.device });
  return slice(dropout(rows, p, { random }), [[0], [0], [0], [0, Tk]]);
}

await onEachDevice("attention() with dropout is softmax, dropout, product", async (device) => {
  for (const [causal, layout] of [[true, "BHTD"], [false, "BTHD"]] as const) {
    using _scope = new Scope();
    const random = new RandomState(7);
    const inOrder = (x: Tensor) => layout === "BHTD" ? x : permute(x, [0, 2, 1, 3]);
    const shape = (time: number) => layout === "BHTD" ? [2, 4, time, 8] : [2, time, 4, 8];
    const q = randn(shape(9), { device, random });
    const [k, v] = [1, 2].map(() => randn(shape(13), { device, random }));
    for (const x of [q, k, v]) x.requiresGrad = true;
    const options = { causal, layout };
    const stream = new RandomState(3, 12);
    const y = attention(q, k, v, { ...options, dropout: { p: 0.3, random: stream } });
    assert.deepEqual(stream.state(), { seed: 3, drawn: 12 + 2 * 4 * 9 * 16 });
    const mask = maskOf([2, 4, 9, 13], 0.3, new RandomState(3, 12), q);
    const weights = mul(attentionWeights(q, k, options), mask);
    const product = inOrder(matmul(weights, inOrder(v)));
    await assertTensorsClose(y, product);

    const dy = randn(y.shape, { device, random });
    sum(mul(y, dy)).backward();
    const grads = [q, k, v].map((x) => x.grad!.alias());
    for (const x of [q, k, v]) x.grad = null;
    sum(mul(product, dy)).backward();
    for (const [i, x] of [q, k, v].entries()) await assertTensorsClose(x.grad!, grads[i], 5e-5);
  }
});

await onEachDevice(
  "attention() drops the weights that dropout() drops, p of them",
  async (device) => {
    using _scope = new Scope();
    // Equal weights of 1 / T times one-hot values: the output is the weights.
    const [B, T, D] = [3, 64, 64];
    const q = zeros([B, 1, T, D], { device });
    const identity = Float32Array.from({ length: T * D }, (_, i) => i % (D + 1) === 0 ? T : 0);
    const repeated = Float32Array.from({ length: B * T * D }, (_, i) => identity[i % (T * D)]);
    const v = tensor(repeated, { shape: [B, 1, T, D], device });
    for (const p of [0.1, 0.5]) {
      const y = await attention(q, q, v, { dropout: { p, random: new RandomState(5) } }).data();
      const mask = await maskOf([B, 1, T, T], p, new RandomState(5), q).data();
      assert.deepEqual([...y.map(Math.sign)], [...mask.map(Math.sign)]);
      const dropped = y.filter((value) => value === 0).length / y.length;
      const deviation = Math.sqrt(p * (1 - p) / y.length);
      assert.ok(Math.abs(dropped - p) < 4 * deviation, `${dropped} of ${p}`);
      assert.ok(y.every((value) => value === 0 || Math.abs(value * (1 - p) - 1) < 1e-5));
    }
    const plain = await attention(q, q, v).data();
    assert.deepEqual(await attention(q, q, v, { dropout: { p: 0 } }).data(), plain);
  },
);

await onEachDevice("selfAttention() and sparseAttention() drop weights, too", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(8);
  const [heads, size] = [3, 8];
  const qkv = randn([2, 7, 3 * heads * size], { device, random });
  const [q, k, v] = split(qkv, heads * size, 2).map((x) => reshape(x, [2, 7, heads, size]));
  const seeded = () => ({ p: 0.4, random: new RandomState(2) });
  const options = { causal: true, layout: "BTHD" } as const;
  await assertTensorsClose(
    selfAttention(qkv, { heads, causal: true, dropout: seeded() }),
    reshape(attention(q, k, v, { ...options, dropout: seeded() }), [2, 7, heads * size]),
  );
  // A block of all tokens, and no key at the end of one.
  const stream = new RandomState(2);
  await assertTensorsClose(
    sparseAttention(q, k, v, {
      ...{ layout: "BTHD", blockSize: 8, dropout: { p: 0.4, random: stream } },
    }),
    attention(q, k, v, { ...options, dropout: seeded() }),
  );
  assert.equal(stream.state().drawn, 2 * heads * 7 * 8);
  sparseAttention(q, k, v, {
    ...{ layout: "BTHD", blockSize: 3, dropout: { p: 0.4, random: stream } },
  });
  assert.equal(stream.state().drawn, 2 * heads * 7 * (8 + 8 + 4));
});

await onEachDevice("gradients of attention with dropout are finite differences", async (device) => {
  using _scope = new Scope();
  const random = new RandomState(4);
  const [q, k, v, dy] = [1, 2, 3, 4].map(() => randn([2, 2, 11, 4], { device, random }));
  const inputs = [q, k, v];
  for (const x of inputs) x.requiresGrad = true;
  const loss = ([q, k, v]: Tensor[]) => {
    const dropout = { p: 0.3, random: new RandomState(6) };
    return sum(mul(sparseAttention(q, k, v, { blockSize: 5, dropout }), dy));
  };
  loss(inputs).backward();
  await assertSlopes(loss, inputs, random);
  assert.throws(
    () => attention(q, k, v, { dropout: { p: 1 } }),
    /attention: expected p in \[0, 1\)/,
  );
});

await onEachDevice("attention() says which shapes do not fit", (device) => {
  using _scope = new Scope();
  const q = randn([1, 3, 5, 8], { device });
  const k = randn([1, 2, 5, 8], { device });
  assert.throws(() => attention(q, k, k), /Hkv divides H but got \[1, 3, 5, 8\], \[1, 2, 5, 8\]/);
  assert.throws(
    () => attention(q, q, q, { keyValid: tensor([1, 1], { device, dtype: "i32" }) }),
    /expected keyValid of shape \[1, 5\] but got \[2\]/,
  );
  assert.throws(() => attentionWeights(q, k), /expected q and k of one batch and head size/);
  assert.throws(
    () => attention(q, q, q, { keyLength: 6 }),
    /expected a keyLength from 0 to 5 but got 6/,
  );
  const keyValid = tensor([[1, 1, 1, 1]], { device, dtype: "i32" });
  assert.throws(
    () => attention(q, q, q, { keyLength: 3, keyValid }),
    /expected keyValid of shape \[1, 3\] or \[1, 5\] but got \[1, 4\]/,
  );
});

await onEachDevice(
  "attention() takes keys and values of f16 beside queries of f32",
  async (device) => {
    if (!device.dtypes.has("f16")) return;
    using _scope = new Scope();
    const random = new RandomState(4);
    // One query and a few, as in decoding, and many, as in prefill; shared heads, and heads of an odd size.
    for (
      const [queries, heads, kvHeads, d] of [[1, 6, 2, 16], [3, 2, 2, 7], [40, 4, 2, 16]] as const
    ) {
      const q = randn([2, queries, heads, d], { device, random });
      const [k, v] = ["k", "v"].map(() =>
        cast(randn([2, 150, kvHeads, d], { device, random }), "f16")
      );
      const options = { causal: true, layout: "BTHD", keyLength: 145 } as const;
      const found = await attention(q, k!, v!, options).data();
      const expected = await attention(q, cast(k!, "f32"), cast(v!, "f32"), options).data();
      assertClose(found, expected, 1e-5, `${queries} queries of ${heads} heads`);
      assert.throws(() => attention(k!, q, q), /attention: expected one dtype/);
      q.requiresGrad = true;
      assert.throws(() => attention(q, k!, v!), /attention: expected noGrad where keys are f16/);
    }
  },
);

/** Checks the gradient of each input against the slope of the loss in a random direction. */
async function assertSlopes(
  loss: (inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  random: RandomState,
): Promise<void> {
  for (const [i, x] of inputs.entries()) {
    const direction = randn(x.shape, { device: x.device, random });
    const moved = (step: number) =>
      loss(inputs.map((y, j) => i === j ? add(y, mul(direction, step)) : y)).item();
    const difference = (await moved(0.01) - await moved(-0.01)) / 0.02;
    const slope = await sum(mul(x.grad!, direction)).item();
    assert.ok(Math.abs(difference - slope) < 5e-3 * Math.max(1, Math.abs(slope)), `${slope}`);
  }
}

Deno.test("attention of more than 65,535 heads in a batch is one launch on a GPU", async () => {
  const stub = new StubGpu();
  using device = await WebGpuDevice.open({ gpu: stub.gpu });
  using _scope = new Scope();
  const x = Tensor.empty(device, [33_000, 2, 16, 4]);
  x.requiresGrad = true;
  sum(attention(x, x, x)).backward();
  const kernels = ["attention_forward", "attention_backward_q", "attention_backward_kv"];
  assert.deepEqual(kernels.map((kernel) => stub.counts.launches.get(kernel)), [1, 1, 1]);
});
