import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { cast } from "../../src/ops/elementwise.ts";
import { batchInvariant, launchMatmul, linear, matmul } from "../../src/ops/matmul.ts";
import { randn } from "../../src/ops/random.ts";
import { slice } from "../../src/ops/shape.ts";
import { full, tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors, Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertCloseEach } from "../support/compare.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";
import { StubGpu } from "../support/stub_gpu.ts";

/** op(a) op(b) in double precision, for batches of one shape. */
async function product(
  a: Tensor,
  b: Tensor,
  transposeA: boolean,
  transposeB: boolean,
): Promise<number[]> {
  const [x, y] = [await a.data(), await b.data()];
  const [m, k] = transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2);
  const n = b.shape.at(transposeB ? -2 : -1)!;
  const result: number[] = [];
  for (let p = 0; p < a.size / (m * k); p++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) {
          sum += x[p * m * k + (transposeA ? l * m + i : i * k + l)] *
            y[p * k * n + (transposeB ? j * k + l : l * n + j)];
        }
        result.push(sum);
      }
    }
  }
  return result;
}

async function checkAll(device: Device, batch: number[], m: number, k: number, n: number) {
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      using _scope = new Scope();
      const random = new RandomState(1);
      const a = randn([...batch, ...transposeA ? [k, m] : [m, k]], { device, random });
      const b = randn([...batch, ...transposeB ? [n, k] : [k, n]], { device, random });
      const y = matmul(a, b, { transposeA, transposeB });
      assertClose(await y.data(), await product(a, b, transposeA, transposeB), 1e-5);
    }
  }
}

await onEachDevice("matmul() multiplies every way round, in batches too", async (device) => {
  await checkAll(device, [], 19, 33, 21);
  await checkAll(device, [2, 3], 5, 7, 9);
});

if (await testWebGpu()) {
  Deno.test({
    name: "matmul() cuts operands of any orientation that are too long to bind",
    sanitizeResources: false,
    sanitizeOps: false,
    async fn() {
      using device = await WebGpuDevice.open({ limits: { maxStorageBufferBindingSize: 2048 } });
      await checkAll(device, [], 70, 40, 50);
      await checkAll(device, [3, 2], 30, 20, 10);
      using _scope = new Scope();
      {
        // A part begins where its bias can be bound: 64 columns on, at most.
        using device = await WebGpuDevice.open({ limits: { maxStorageBufferBindingSize: 16384 } });
        using _scope = new Scope();
        const x = randn([40, 33], { device });
        const [weight, bias] = [randn([200, 33], { device }), randn([200], { device })];
        const plain = await matmul(x, weight, { transposeB: true }).data();
        const [y, added] = [await linear(x, weight, bias).data(), await bias.data()];
        assertClose(y, plain.map((value, i) => value + added[i % 200]), 1e-5);
        await checkBiasGrad(device, 3000, 20, 10); // more rows than can be bound
        await checkBiasGrad(device, 13, 20, 300); // a longer weight
      }
      const long = randn([1, 2000], { device });
      assert.throws(
        () => matmul(long, randn([2000, 1], { device })),
        /expected rows of at most 2048 bytes/,
      );
    },
  });
}

/** Holds the gradient of a bias against float64: with that of the weight, without, and added to one before. */
async function checkBiasGrad(device: Device, rows: number, inputs: number, outputs: number) {
  using _scope = new Scope();
  const random = new RandomState(rows);
  const [x, dOut] = [
    randn([rows, inputs], { device, random }),
    randn([rows, outputs], { device, random }),
  ];
  const grads: Tensor[] = [];
  for (const [trained, times] of [[true, 1], [false, 1], [true, 2]] as const) {
    const weight = randn([outputs, inputs], { device, random });
    const bias = randn([outputs], { device, random });
    weight.requiresGrad = trained;
    bias.requiresGrad = true;
    for (let time = 0; time < times; time++) linear(x, weight, bias).backward(dOut);
    grads.push(bias.grad!);
  }
  const [data, ...found] = await readTensors([dOut, ...grads]);
  const expected = new Float64Array(outputs);
  data.forEach((value, i) => expected[i % outputs] += value);
  const what = `${rows} x ${inputs} to ${outputs}`;
  [1, 1, 2].forEach((times, i) =>
    assertCloseEach(found[i], expected.map((sum) => times * sum), 1e-4, `${what}, ${i}`)
  );
}

await onEachDevice(
  "linear() gives a bias its gradient with the weight's, and alone",
  async (device) => {
    await checkBiasGrad(device, 37, 9, 5);
    await checkBiasGrad(device, 2100, 12, 20);
  },
);

await onEachDevice("matmul() takes vectors, and stretches batches", async (device) => {
  using _scope = new Scope();
  const v = tensor([1, 2], { device });
  const a = tensor([[1, 2], [3, 4]], { device });
  assert.equal(await matmul(v, v).item(), 5);
  assert.deepEqual(await matmul(v, a).toArray(), [7, 10]);
  assert.deepEqual(await matmul(a, v).toArray(), [5, 11]);
  const [x, y] = [randn([2, 1, 3, 4], { device }), randn([5, 4, 2], { device })];
  const z = matmul(x, y);
  assert.deepEqual(z.shape, [2, 5, 3, 2]);
  x.requiresGrad = y.requiresGrad = true;
  matmul(x, y).backward(randn([2, 5, 3, 2], { device }));
  assert.deepEqual([x.grad!.shape, y.grad!.shape], [x.shape, y.shape]);
});

await onEachDevice("matmul() and linear() say which shapes do not fit", (device) => {
  using _scope = new Scope();
  const a = randn([2, 3], { device });
  assert.throws(
    () => matmul(a, a),
    /equal inner lengths but got 3 and 2 in \[2, 3\] times \[2, 3\]/,
  );
  assert.throws(
    () => matmul(a, randn([4, 5], { device }), { transposeB: true }),
    /3 and 5 in \[2, 3\] times \[4, 5\] transposed/,
  );
  assert.throws(
    () => matmul(randn([2, 3, 4], { device }), randn([5, 4, 3], { device })),
    /shapes that broadcast but got \[2\] and \[5\]/,
  );
  assert.throws(
    () => linear(a, a.alias([3, 2])),
    /weight \(outputs, inputs\) but got \[2, 3\] and \[3, 2\]/,
  );
  assert.throws(() => linear(a, a, tensor([1], { device })), /bias of shape \[2\] but got \[1\]/);
  const whole = tensor([1, 2], { device, dtype: "i32" });
  assert.throws(() => linear(a, a, whole), /linear: expected f32 or f16 but got Tensor \[2\] i32/);
  assert.throws(() => linear(a, a, undefined, { residual: a }), /residual of shape \[2, 2\]/);
  const ids = tensor(Int32Array.of(1, 2), { shape: [1, 2], device });
  assert.throws(() => matmul(ids, ids), /expected f32 or f16 but got Tensor \[1, 2\] i32/);
});

await onEachDevice("launchMatmul() sums nothing to zero, or to what is there", async (device) => {
  using _scope = new Scope();
  const [a, b] = [Tensor.empty(device, [2, 0]), Tensor.empty(device, [0, 3])];
  assert.deepEqual(await matmul(a, b).toArray(), [[0, 0, 0], [0, 0, 0]]);
  if (device.dtypes.has("f16")) {
    // The memory of the product is not zero before.
    full([2, 3], 7, { device, dtype: "f16" }).dispose();
    const bias = tensor([1, 2, 3], { device, dtype: "f16" });
    const product = linear(cast(a, "f16"), cast(b.alias([3, 0]), "f16"), bias);
    assert.deepEqual(await product.toArray(), [[1, 2, 3], [1, 2, 3]]);
    const square = matmul(cast(a, "f16"), cast(b, "f16"));
    assert.deepEqual(await square.toArray(), [[0, 0, 0], [0, 0, 0]]);
  }
  const c = tensor([[1, 2, 3], [4, 5, 6]], { device });
  launchMatmul({ a, b, c }, { m: 2, n: 3, k: 0, beta: 1 });
  assert.deepEqual(await c.toArray(), [[1, 2, 3], [4, 5, 6]]);
});

await onEachDevice("a product with a long k and few rows adds up its parts", async (device) => {
  using _scope = new Scope();
  for (const [m, n, k] of [[20, 12, 4096], [7, 5, 3072], [9, 8, 2053]]) {
    const a = randn([m, k], { device, random: new RandomState(1) });
    const b = randn([n, k], { device, random: new RandomState(2) });
    const bias = randn([n], { device, random: new RandomState(3) });
    const [x, y, z, actual] = await readTensors([a, b, bias, linear(a, b, bias)]);
    const expected = Float64Array.from({ length: m * n }, (_, at) => {
      let sum = z[at % n];
      for (let l = 0; l < k; l++) sum += x[Math.floor(at / n) * k + l] * y[at % n * k + l];
      return sum;
    });
    assertCloseEach(actual, expected, 2e-4, `${m} x ${n} x ${k}`);
  }
});

await onEachDevice("batchInvariant(): a row is the same alone and among others", async (device) => {
  using _scope = new Scope();
  for (const [k, n] of [[7, 5], [50, 33], [64, 100], [1030, 12]] as const) {
    const random = new RandomState(k);
    const x = randn([37, k], { device, random });
    const weight = randn([n, k], { device, random });
    const bias = randn([n], { device, random });
    const rowsOf = (first: number, end: number) =>
      batchInvariant(() => {
        const rows = slice(x, [[first, end]]);
        return [linear(rows, weight, bias), matmul(rows, weight, { transposeB: true })];
      });
    const whole = await readTensors(rowsOf(0, 37));
    assertClose(
      whole[1],
      await product(x, weight, false, true),
      1e-5,
    );
    for (const [first, end] of [[0, 1], [36, 37], [5, 7], [3, 11], [1, 17], [2, 36]] as const) {
      const part = await readTensors(rowsOf(first, end));
      part.forEach((values, i) =>
        assert.deepEqual(
          values,
          whole[i].slice(first * n, end * n),
          `${first} to ${end} of ${k} x ${n}`,
        )
      );
    }
  }
});

await onEachDevice("matmul() of more than 65,535 matrices", async (device) => {
  using _scope = new Scope();
  const batch = 70_001;
  const values = Float32Array.from({ length: 2 * batch }, (_, i) => i % 1000);
  const x = tensor(values, { shape: [batch, 1, 2], device });
  const y = await matmul(x, x, { transposeB: true }).data();
  assert.equal(y.length, batch);
  for (let i = 0; i < batch; i++) {
    assert.equal(y[i], values[2 * i]! ** 2 + values[2 * i + 1]! ** 2);
  }
});

Deno.test("products with more workgroups than a GPU can launch are cut", async () => {
  const stub = new StubGpu();
  using device = await WebGpuDevice.open({ gpu: stub.gpu });
  using _scope = new Scope();
  const launches = (run: () => unknown) => {
    stub.reset();
    run();
    return stub.counts.launches.get("matmul");
  };
  const of = (...shape: number[]) => Tensor.empty(device, shape);
  assert.equal(launches(() => linear(of(1, 64), of(1_000_000, 64), of(1_000_000))), 2);
  assert.equal(launches(() => linear(of(3_000_000, 16), of(8, 16))), 2);
  const rowSums = of(3_000_000);
  const operands = { a: of(16, 3_000_000), b: of(16, 8), c: of(3_000_000, 8), rowSums };
  const sizes = { m: 3_000_000, n: 8, k: 16, transposeA: 1 };
  assert.equal(launches(() => launchMatmul(operands, sizes)), 2);
});
