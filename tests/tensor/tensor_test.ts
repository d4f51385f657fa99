import assert from "node:assert/strict";
import { add } from "../../src/ops/elementwise.ts";
import { arange, assign, full, ones, tensor, zeros } from "../../src/tensor/create.ts";
import { Scope, scoped, unscoped } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { onEachDevice } from "../support/devices.ts";

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
  ];
  assert.deepEqual((await readTensors(filled)).map((x) => [...x]), [[0, 0], [1, 1], [-3, -3]]);
});

await onEachDevice("tensor() holds an odd number of f16", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using half = tensor([1.5, -2, 65504], { device, dtype: "f16" });
  assert.deepEqual([...await half.data()], [1.5, -2, 65504]);
  assign(half, Float16Array.of(1, 2, 3));
  assert.deepEqual([...await half.data()], [1, 2, 3]);
});

await onEachDevice("tensor() refuses ragged arrays and shapes that do not fit", (device) => {
  assert.throws(() => tensor([[1, 2], [3]], { device }), /ragged arrays: expected shape \[2, 2\]/);
  assert.throws(() => tensor([[1], 2], { device }), /ragged/);
  assert.throws(
    () => tensor([1, 2, 3], { shape: [2, 2], device }),
    /3 elements do not fit .*\[2, 2\]/,
  );
  assert.throws(() => zeros([2, -1], { device }), /whole numbers of 0 or more but got \[2, -1\]/);
  assert.throws(() => zeros([1.5], { device }), RangeError);
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
    await assert.rejects(gone.data(), /Tensor "bias" \[1\] was used after it was disposed of/);
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
  assert.throws(() => row.alias([3]), /4 elements do not fit/);
  row.dispose();
  assert.equal(device.memory().live, before);
});
