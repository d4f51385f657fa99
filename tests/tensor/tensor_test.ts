import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { add } from "../../src/ops/elementwise.ts";
import {
  arange,
  assign,
  full,
  ones,
  onesLike,
  tensor,
  zeros,
  zerosLike,
} from "../../src/tensor/create.ts";
import { Scope, scoped, unscoped } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

await onEachDevice("tensor() keeps shape, dtype and values", async (device) => {
  using _scope = new Scope();
  const nested = tensor([[1, 2, 3], [4, 5, 6]], { device });
  assert.deepEqual([nested.shape, nested.dtype, nested.size], [[2, 3], "f32", 6]);
  assert.deepEqual(await nested.toArray(), [[1, 2, 3], [4, 5, 6]]);
  assert.deepEqual(await tensor(7, { device }).item(), 7);
  const ids = tensor(Int32Array.of(-1, 2 ** 31 - 1), { device });
  assert.equal(ids.dtype, "i32");
  assert.deepEqual([...await ids.data()], [-1, 2 ** 31 - 1]);
  assert.deepEqual(await tensor([[], []], { device }).toArray(), [[], []]);
  assert.deepEqual([...await arange(4, { start: 1, step: 2, device }).data()], [1, 3, 5, 7]);
  const filled = [
    zeros([2], { device }),
    ones([2], { device }),
    full([2], -3, { device, dtype: "i32" }),
    full([2], 16777217, { device, dtype: "u32" }),
  ];
  const values = [[0, 0], [1, 1], [-3, -3], [16777217, 16777217]];
  assert.deepEqual((await readTensors(filled)).map((x) => [...x]), values);
});

await onEachDevice("tensor() holds an odd number of f16", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using half = tensor([1.5, -2, 65504], { device, dtype: "f16" });
  assert.deepEqual([...await half.data()], [1.5, -2, 65504]);
  assign(half, Float16Array.of(1, 2, 3));
  assert.deepEqual([...await half.data()], [1, 2, 3]);
});

await onEachDevice("assign() copies a tensor, also within one buffer", async (device) => {
  using _scope = new Scope();
  const target = zeros([3], { device });
  assign(target, tensor([1, 2, 3], { device }));
  assign(target, target.alias([1, 3]));
  assert.deepEqual(await target.toArray(), [1, 2, 3]);
  assert.throws(() => assign(target, ones([2], { device })), /3 elements of f32 but got 2 of f32/);
  using other = CpuDevice.open({ threads: 1 });
  assert.throws(() => assign(target, ones([3], { device: other })), /expected values on/);
  if (!device.dtypes.has("f16")) return;
  const half = zeros([3], { device, dtype: "f16" });
  assign(half, tensor([1.5, -2, 65504], { device, dtype: "f16" }));
  assert.deepEqual([...await half.data()], [1.5, -2, 65504]);
});

await onEachDevice("tensor() takes arrays of typed arrays and their dtype", async (device) => {
  const ids = Uint16Array.of(1, 2, 3, 4, 5, 6);
  using rows = tensor([ids.subarray(0, 3), ids.subarray(3)], { device });
  assert.deepEqual([rows.shape, rows.dtype], [[2, 3], "i32"]);
  assert.deepEqual(await rows.toArray(), [[1, 2, 3], [4, 5, 6]]);
  using floats = tensor([[Float32Array.of(0.5)], [Float32Array.of(1.5)]], { device });
  assert.deepEqual([floats.shape, floats.dtype], [[2, 1, 1], "f32"]);
  using large = tensor([BigInt64Array.of(7n)], { device });
  assert.deepEqual(await large.toArray(), [[7]]);
});

await onEachDevice("tensor() refuses ragged arrays and shapes that do not fit", (device) => {
  assert.throws(
    () => tensor([[1, 2], [3]], { device }),
    /tensor: expected nested arrays of shape \[2, 2\] but got an array of 1 at axis 1/,
  );
  assert.throws(() => tensor([[1], 2], { device }), /tensor: expected nested arrays/);
  assert.throws(
    () => tensor([Int32Array.of(1, 2), Int32Array.of(3)], { device }),
    /shape \[2, 2\] but got an array of 1 at axis 1/,
  );
  assert.throws(() => tensor(["a"] as never, { device }), /shape \[1\] but got "a" at axis 1/);
  assert.throws(
    () => tensor([1, 2, 3], { shape: [2, 2], device }),
    /a shape of 3 elements but got \[2, 2\]/,
  );
  assert.throws(() => zeros([2, -1], { device }), /integer lengths of 0 or more but got \[2, -1\]/);
  assert.throws(() => zeros([1.5], { device }), RangeError);
  assert.throws(() => full([2], -1, { device, dtype: "u32" }), /full: expected values from 0 to/);
  const float32 = { device, dtype: "float32" as "f32" };
  assert.throws(() => tensor([1], float32), /dtype: expected f32, f16, i32 or u32 but got float32/);
  assert.throws(
    () => zeros([1], float32),
    /expected f32, f16, i32, u32, as .* has, but got float32/,
  );
});

await onEachDevice(
  "Tensor.item() wants one element, and a disposed tensor is refused",
  async (device) => {
    using pair = tensor([1, 2], { device });
    await assert.rejects(pair.item(), /expected one element but got shape \[2\]/);
    const gone = tensor([1], { device });
    gone.name = "bias";
    gone.dispose();
    gone.dispose();
    await assert.rejects(
      gone.data(),
      /but got Tensor "bias" \[1\], which was disposed of; keep\(\) lets it outlive its Scope/,
    );
  },
);

await onEachDevice("Tensor.format() shows values, shape, dtype and device", async (device) => {
  using x = tensor([[1, -2.5], [0.001234, 1e9]], { device });
  const text = await x.format();
  for (const part of ["-2.5000", "0.0012", "1.000e+9", "Tensor [2, 2] f32", device.kind]) {
    assert.ok(text.includes(part), `${part} is not in ${text}`);
  }
  using long = arange(100, { device });
  assert.ok((await long.format()).startsWith("[ 0,  1,  2, ..., 97, 98, 99]\n"));
});

await onEachDevice("Scope frees what was made in it, but not what was kept", (device) => {
  const before = device.memory();
  let kept: Tensor;
  {
    using _scope = new Scope();
    kept = zeros([100], { device }).keep();
    zeros([100], { device });
    add(kept, kept);
  }
  assert.equal(device.memory().buffers, before.buffers + 1);
  kept.dispose();
  assert.equal(device.memory().live, before.live);
});

await onEachDevice("scoped() hands what it returns to the scope around it", (device) => {
  const before = device.memory().live;
  const outside = zeros([3], { device });
  {
    using _scope = new Scope();
    const { x, list } = scoped(() => {
      const x = add(outside, 1);
      return { x, list: [add(x, 1), outside] };
    });
    assert.ok(!x.disposed && !list[0].disposed);
  }
  assert.ok(!outside.disposed, "a tensor of the caller's was freed");
  outside.dispose();
  assert.equal(device.memory().live, before);
  using _scope = new Scope();
  const free = unscoped(() => zeros([1], { device }));
  assert.ok(!_scope.owns(free));
  free.dispose();
});

await onEachDevice("Tensor.alias() shares memory until the last user is gone", async (device) => {
  const before = device.memory().live;
  const x = tensor([[1, 2], [3, 4]], { device });
  const row = x.alias([4]);
  x.dispose();
  assert.deepEqual(await row.toArray(), [1, 2, 3, 4]);
  assert.throws(() => row.alias([3]), /a shape of 4 elements but got/);
  row.dispose();
  assert.equal(device.memory().live, before);
});

await onEachDevice("tensor() takes every kind of typed array and booleans", async (device) => {
  using _scope = new Scope();
  const made = [
    tensor(Float64Array.of(1.5, -2), { device }),
    tensor(BigInt64Array.of(-(2n ** 31n), 2n ** 31n - 1n), { device }),
    tensor(BigUint64Array.of(0n, 2n ** 31n - 1n), { device }),
    tensor(Uint8Array.of(0, 255), { device }),
    tensor(Uint8ClampedArray.of(0, 255), { device }),
    tensor(Int8Array.of(-128, 127), { device }),
    tensor(Int16Array.of(-32768, 7), { device }),
    tensor(Uint16Array.of(65535, 7), { device }),
    tensor([[true, false]], { device }),
    tensor(Uint8Array.of(0, 255), { device, dtype: "f32" }),
    tensor(BigInt64Array.of(3n, 4n), { device, dtype: "f32", shape: [1, 2] }),
    tensor([1.9, -1.9], { device, dtype: "i32" }),
  ];
  const found = await readTensors(made);
  assert.deepEqual(made.map(({ dtype }, i) => [dtype, ...found[i]]), [
    ["f32", 1.5, -2],
    ["i32", -(2 ** 31), 2 ** 31 - 1],
    ["i32", 0, 2 ** 31 - 1],
    ["i32", 0, 255],
    ["i32", 0, 255],
    ["i32", -128, 127],
    ["i32", -32768, 7],
    ["i32", 65535, 7],
    ["u32", 1, 0],
    ["f32", 0, 255],
    ["f32", 3, 4],
    ["i32", 1, -1],
  ]);
  assert.deepEqual([made[8].shape, made[10].shape], [[1, 2], [1, 2]]);
  const readonly = [[1, 2], [3, 4]] as const;
  assert.deepEqual(await tensor(readonly, { device }).toArray(), [[1, 2], [3, 4]]);
});

await onEachDevice("tensor() refuses values that the dtype cannot hold", (device) => {
  using _scope = new Scope();
  const refused = (make: () => Tensor, value: string, dtype: string) =>
    assert.throws(make, {
      name: "RangeError",
      message: new RegExp(
        `^tensor: expected values .*\\b${dtype} but got ${value.replace("+", "\\+")}$`,
      ),
    });
  refused(() => tensor(BigInt64Array.of(0n, 2n ** 31n), { device }), "2147483648", "i32");
  refused(() => tensor(BigUint64Array.of(0n, 2n ** 31n), { device }), "2147483648", "i32");
  refused(() => tensor([0, 3e9], { device, dtype: "i32" }), "3000000000", "i32");
  refused(() => tensor([0, -1], { device, dtype: "u32" }), "-1", "u32");
  refused(() => tensor(Int32Array.of(0, -1), { device, dtype: "u32" }), "-1", "u32");
  refused(() => tensor([0, NaN], { device, dtype: "i32" }), "NaN", "i32");
  refused(() => tensor(Float64Array.of(0, 1e300), { device }), "1e+300", "f32");
  if (device.dtypes.has("f16")) {
    refused(() => tensor([0, 70000], { device, dtype: "f16" }), "70000", "f16");
  }
  tensor([NaN, Infinity], { device });
  assert.throws(() => tensor(new DataView(new ArrayBuffer(4)) as never, { device }), TypeError);
});

await onEachDevice("zerosLike() and onesLike() take shape, dtype and device", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2]], { device, dtype: "i32" });
  const [zero, one, float] = [zerosLike(x), onesLike(x), onesLike(x, { dtype: "f32" })];
  assert.deepEqual([zero.dtype, one.dtype, float.dtype], ["i32", "i32", "f32"]);
  assert.ok(zero.device === device && float.device === device);
  assert.deepEqual(await zero.toArray(), [[0, 0]]);
  assert.deepEqual(await float.toArray(), [[1, 1]]);
});

await onEachDevice("Tensor.to() copies to any device", async (device) => {
  using _scope = new Scope();
  for (const other of await testDevices()) {
    const x = tensor([[1, 2, 3]], { device });
    x.requiresGrad = true;
    const y = await x.to(other);
    assert.ok(y.device === other && !y.requiresGrad && y !== x);
    x.dispose();
    assert.deepEqual(await y.toArray(), [[1, 2, 3]]);
    assert.deepEqual((await zeros([0, 2], { device }).to(other)).shape, [0, 2]);
    if (!device.dtypes.has("f16") || !other.dtypes.has("f16")) continue;
    const half = await tensor([1, 2, 3], { device, dtype: "f16" }).to(other);
    assert.deepEqual([half.dtype, await half.toArray()], ["f16", [1, 2, 3]]);
  }
});

Deno.test("an operation on two devices of one kind says so", () => {
  using one = CpuDevice.open({ threads: 1 });
  using other = CpuDevice.open({ threads: 1 });
  assert.throws(
    () => add(ones([1], { device: one }), ones([1], { device: other })),
    /add: expected tensors on one device but got .* on cpu and .* on cpu, each opened by itself/,
  );
});
