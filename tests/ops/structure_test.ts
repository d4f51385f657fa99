import assert from "node:assert/strict";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { mul } from "../../src/ops/elementwise.ts";
import {
  broadcastTo,
  concat,
  flatten,
  flip,
  pad,
  permute,
  slice,
  split,
  squeeze,
  stack,
  tile,
  transpose,
  unsqueeze,
} from "../../src/ops/shape.ts";
import { embedding, oneHot, take, takeAlongAxis, topK } from "../../src/ops/index.ts";
import { sum } from "../../src/ops/reduce.ts";
import { arange, tensor, zeros } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { random, randomIds } from "../kernels/case.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";

/** The gradient of `f(x)` weighted by 1, 2, 3, ...: shows where every element went. */
async function gradientOf(x: Tensor, f: (x: Tensor) => Tensor): Promise<unknown> {
  x.grad?.dispose();
  x.grad = null;
  x.requiresGrad = true;
  const y = f(x);
  const { device } = x;
  const weights = arange(y.size, { start: 1, device, dtype: "f32" }).alias(y.shape);
  sum(mul(y, weights)).backward();
  return await x.grad!.toArray();
}

await onEachDevice(
  "permute() and transpose() move axes, and their gradients back",
  async (device) => {
    using _scope = new Scope();
    const x = tensor([[1, 2, 3], [4, 5, 6]], { device });
    assert.deepEqual(await transpose(x).toArray(), [[1, 4], [2, 5], [3, 6]]);
    assert.deepEqual(await gradientOf(x, transpose), [[1, 3, 5], [2, 4, 6]]);
    const y = tensor(random(2 * 3 * 4 * 8), { device, shape: [2, 3, 4, 8] });
    const back = permute(permute(y, [3, 0, 2, 1]), [1, 3, 2, 0]);
    assert.deepEqual(await back.toArray(), await y.toArray());
    assert.deepEqual(permute(y, [-1, 0, 2, 1]).shape, [8, 2, 4, 3]);
    assert.throws(() => permute(y, [0, 1, 2, 2]), /each of 4 axes once/);
  },
);

await onEachDevice("slice() takes starts, stops and steps", async (device) => {
  using _scope = new Scope();
  const x = tensor([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]], { device });
  assert.deepEqual(await slice(x, [[1]]).toArray(), [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]);
  assert.deepEqual(await slice(x, [[0, 3, 2], [1, 5, 3]]).toArray(), [[1, 4], [11, 14]]);
  assert.deepEqual(await slice(x, [[-1], [-2, 99]]).toArray(), [[13, 14]]);
  assert.deepEqual(slice(x, [[2, 1]]).shape, [0, 5]);
  assert.deepEqual(await gradientOf(x, (x) => slice(x, [[0, 3, 2], [1, 5, 3]])), [
    [0, 1, 0, 0, 2],
    [0, 0, 0, 0, 0],
    [0, 3, 0, 0, 4],
  ]);
  assert.throws(() => slice(x, [[0, 1, 0]]), /step of 1 or more/);
  assert.throws(() => slice(x, [[0], [0], [0]]), /at most 2 ranges for shape \[3, 5\] but got 3/);
});

await onEachDevice("concat(), stack() and split() join and cut", async (device) => {
  using _scope = new Scope();
  const a = tensor([[1, 2], [3, 4]], { device });
  const b = tensor([[5], [6]], { device });
  assert.deepEqual(await concat([a, b], { axis: 1 }).toArray(), [[1, 2, 5], [3, 4, 6]]);
  assert.deepEqual(await concat([a, a]).toArray(), [[1, 2], [3, 4], [1, 2], [3, 4]]);
  assert.deepEqual(await stack([a, a], { axis: 1 }).toArray(), [[[1, 2], [1, 2]], [[3, 4], [
    3,
    4,
  ]]]);
  const parts = split(concat([a, b], { axis: 1 }), [2, 1], 1);
  assert.deepEqual(await parts[1].toArray(), [[5], [6]]);
  assert.deepEqual(split(a, 1).map((part) => part.shape), [[1, 2], [1, 2]]);
  assert.deepEqual(await gradientOf(b, (b) => concat([a, b], { axis: 1 })), [[3], [6]]);
  assert.throws(
    () => concat([a, b]),
    /shapes that differ in axis 0 only but got \[2, 2\] and \[2, 1\]/,
  );
  assert.throws(() => split(a, 1.5), /split: expected a length of 1 or more but got 1.5/);
  assert.throws(() => split(a, [-1, 3]), /split: expected integer lengths that add up/);
  assert.throws(() => stack([a, b]), /stack: expected one shape but got/);
  assert.throws(() => concat([]), /at least one tensor but got none/);
  assert.throws(
    () => split(a, [1, 2]),
    /lengths that add up to axis 0 of \[2, 2\] but got \[1, 2\]/,
  );
});

await onEachDevice("broadcastTo() stretches, and sums its gradient", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1], [2]], { device });
  assert.deepEqual(await broadcastTo(x, [2, 2, 3]).toArray(), [
    [[1, 1, 1], [2, 2, 2]],
    [[1, 1, 1], [2, 2, 2]],
  ]);
  assert.deepEqual(await gradientOf(x, (x) => broadcastTo(x, [2, 3])), [[6], [15]]);
  assert.throws(
    () => broadcastTo(x, [3, 3]),
    /shapes that broadcast but got \[2, 1\] and \[3, 3\]/,
  );
  assert.throws(() => broadcastTo(x, [1]), /a shape that broadcasts to \[1\] but got/);
});

await onEachDevice("tile() repeats along each axis, and adds gradients up", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2], [3, 4]], { device });
  assert.deepEqual(await tile(x, [2, 3]).toArray(), [
    [1, 2, 1, 2, 1, 2],
    [3, 4, 3, 4, 3, 4],
    [1, 2, 1, 2, 1, 2],
    [3, 4, 3, 4, 3, 4],
  ]);
  assert.deepEqual(await tile(x, [2]).toArray(), [[1, 2, 1, 2], [3, 4, 3, 4]]);
  assert.deepEqual(tile(x, [3, 1, 2]).shape, [3, 2, 4]);
  assert.deepEqual(tile(x, [0, 2]).shape, [0, 4]);
  assert.deepEqual(await tile(x, []).toArray(), await x.toArray());
  // The weights 1 to 16, in rows of 4: 1 + 3 + 9 + 11 reach the first element.
  assert.deepEqual(await gradientOf(x, (x) => tile(x, [2, 2])), [[24, 28], [40, 44]]);
  const many = tile(zeros([1, 2, 1, 2, 1, 2, 1, 2], { device }), [2, 2, 2, 2, 2, 2, 2, 2]);
  assert.deepEqual(many.shape, [2, 4, 2, 4, 2, 4, 2, 4]);
  assert.throws(() => tile(x, [-1]), /tile: expected integer lengths of 0 or more but got \[-1\]/);
});

await onEachDevice("flip() reverses axes, and its gradient", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2, 3], [4, 5, 6]], { device });
  assert.deepEqual(await flip(x, 0).toArray(), [[4, 5, 6], [1, 2, 3]]);
  assert.deepEqual(await flip(x).toArray(), [[6, 5, 4], [3, 2, 1]]);
  assert.deepEqual(await flip(x, []).toArray(), await x.toArray());
  assert.deepEqual(await gradientOf(x, (x) => flip(x, -1)), [[3, 2, 1], [6, 5, 4]]);
  assert.deepEqual(flip(zeros([0, 3], { device })).shape, [0, 3]);
  assert.throws(() => flip(x, 2), /flip: expected an axis of shape \[2, 3\] but got 2/);
  const shape = [3, 4, 5, 8], values = random(3 * 4 * 5 * 8);
  const y = tensor(values, { device, shape });
  for (const axes of [[0, 2], [1, 2], [3], [0, 1, 2]]) {
    const expected = values.map((_, i) => {
      const at = [Math.floor(i / 160), Math.floor(i / 40) % 4, Math.floor(i / 8) % 5, i % 8]
        .map((n, axis) => axes.includes(axis) ? shape[axis] - 1 - n : n);
      return values[((at[0] * 4 + at[1]) * 5 + at[2]) * 8 + at[3]];
    });
    assert.deepEqual(await flip(y, axes).data(), expected, `axes ${axes}`);
  }
});

await onEachDevice("pad() surrounds with a value, and cuts its gradient", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2], [3, 4]], { device });
  assert.deepEqual(await pad(x, [[1, 0], [0, 2]]).toArray(), [
    [0, 0, 0, 0],
    [1, 2, 0, 0],
    [3, 4, 0, 0],
  ]);
  assert.deepEqual(await pad(x, [[0, 1]], -1).toArray(), [[1, 2], [3, 4], [-1, -1]]);
  assert.deepEqual(await pad(x, []).toArray(), await x.toArray());
  assert.deepEqual(await gradientOf(x, (x) => pad(x, [[1, 0], [0, 2]])), [[5, 6], [9, 10]]);
  const ids = tensor([7], { device, dtype: "i32" });
  assert.deepEqual(await pad(ids, [[2, 1]], -100).toArray(), [-100, -100, 7, -100]);
  assert.throws(() => pad(ids, [[0, 0], [0, 0]]), /pad: expected at most 1 widths for shape \[1\]/);
  assert.throws(() => pad(x, [[-1, 0]]), /pad: expected integer lengths of 0 or more/);
});

await onEachDevice("odd numbers of f16 are moved whole", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const x = tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], { device, dtype: "f16" });
  assert.deepEqual(await slice(x, [[1, 2]]).toArray(), [[4, 5, 6]]);
  assert.deepEqual(await concat([slice(x, [[0, 1]]), slice(x, [[2, 3]])]).toArray(), [
    [1, 2, 3],
    [7, 8, 9],
  ]);
});

await onEachDevice("take() and takeAlongAxis() pick, and add gradients up", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2, 3], [4, 5, 6]], { device });
  const rows = tensor([1, 1, 0], { device, dtype: "i32" });
  assert.deepEqual(await take(x, rows).toArray(), [[4, 5, 6], [4, 5, 6], [1, 2, 3]]);
  assert.deepEqual(await gradientOf(x, (x) => take(x, rows)), [[7, 8, 9], [5, 7, 9]]);
  const ids = tensor([[2, 2], [0, 1]], { device, dtype: "i32" });
  assert.deepEqual(await takeAlongAxis(x, ids).toArray(), [[3, 3], [4, 5]]);
  assert.deepEqual(await gradientOf(x, (x) => takeAlongAxis(x, ids)), [[0, 0, 3], [3, 4, 0]]);
  assert.throws(
    () => takeAlongAxis(x, rows),
    /shapes that differ in axis 1 only but got \[2, 3\] and \[3\]/,
  );
});

await onEachDevice("takeAlongAxis() picks along any axis", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2, 3], [4, 5, 6]], { device });
  const ids = tensor([[1, 0, 1], [1, 1, 0], [0, 0, 0]], { device, dtype: "i32" });
  const picked = (x: Tensor) => takeAlongAxis(x, ids, 0);
  assert.deepEqual(await picked(x).toArray(), [[4, 2, 6], [4, 5, 3], [1, 2, 3]]);
  assert.deepEqual(await gradientOf(x, picked), [[7, 10, 15], [5, 5, 3]]);
  // torch.gather of arange(12).reshape(2, 3, 2) along axis 1
  const y = arange(12, { device }).alias([2, 3, 2]);
  const middle = tensor([[[2, 0]], [[1, 1]]], { device, dtype: "u32" });
  assert.deepEqual(await takeAlongAxis(y, middle, -2).toArray(), [[[4, 1]], [[8, 9]]]);
  assert.throws(
    () => takeAlongAxis(x, ids, 2),
    /takeAlongAxis: expected an axis of shape \[2, 3\]/,
  );
  assert.throws(() => takeAlongAxis(x, ids, 1), /shapes that differ in axis 1 only/);
});

await onEachDevice("topK() finds the largest in order, with a gradient", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 9, 4, 9], [-1, -5, 0, -2]], { device });
  const { values, indices } = topK(x, 3);
  assert.deepEqual(await values.toArray(), [[9, 9, 4], [0, -1, -2]]);
  assert.deepEqual(await indices.toArray(), [[1, 3, 2], [2, 0, 3]]);
  assert.deepEqual(await gradientOf(x, (x) => topK(x, 3).values), [[0, 1, 3, 2], [5, 0, 4, 6]]);
  assert.throws(() => topK(x, 5), /k from 1 to the length of the last axis of \[2, 4\] but got 5/);
});

await onEachDevice("embedding() says what is wrong with an id", async (device) => {
  using _scope = new Scope();
  const weight = tensor([[1, 2], [3, 4]], { device });
  const ids = tensor([0, 5], { device, dtype: "i32" });
  if (device.kind === "cpu") {
    assert.throws(() => embedding(weight, ids), /expected ids from 0 to 1 but got 5 at position 1/);
  } else {
    assert.deepEqual(await embedding(weight, ids).toArray(), [[1, 2], [NaN, NaN]]);
  }
  assert.throws(() => embedding(weight, weight), /expected ids/);
});

Deno.test({
  name: "embedding() trains a table that is longer than the device can bind",
  sanitizeResources: false,
  sanitizeOps: false,
  ignore: !(await testWebGpu()),
  fn: async () => {
    using device = await WebGpuDevice.open({ limits: { maxStorageBufferBindingSize: 65536 } });
    using _scope = new Scope();
    const values = random(1000 * 64);
    const weight = tensor(values, { device, shape: [1000, 64] }); // 256,000 bytes
    const list = randomIds(200, 1000);
    weight.requiresGrad = true;
    const rows = embedding(weight, tensor(list, { device }));
    sum(rows).backward();
    const found = await rows.data();
    const counts = new Uint32Array(1000);
    list.forEach((id, r) => {
      counts[id]++;
      assert.deepEqual(found.subarray(r * 64, r * 64 + 64), values.subarray(id * 64, id * 64 + 64));
    });
    const grad = await weight.grad!.data();
    grad.forEach((value, i) => assert.equal(value, counts[Math.floor(i / 64)]));
  },
});

await onEachDevice("squeeze(), unsqueeze() and flatten() change the shape only", async (device) => {
  using _scope = new Scope();
  const x = zeros([1, 2, 1, 3], { device });
  assert.deepEqual(squeeze(x).shape, [2, 3]);
  assert.deepEqual(squeeze(x, 0).shape, [2, 1, 3]);
  assert.deepEqual(squeeze(x, [0, -2]).shape, [2, 3]);
  assert.deepEqual(squeeze(x, 1).shape, [1, 2, 1, 3]);
  assert.throws(() => squeeze(x, 4), /squeeze: expected an axis of shape \[1, 2, 1, 3\] but got 4/);
  assert.deepEqual(unsqueeze(x, 1).shape, [1, 1, 2, 1, 3]);
  assert.deepEqual(unsqueeze(x, -1).shape, [1, 2, 1, 3, 1]);
  assert.deepEqual(unsqueeze(x, 4).shape, [1, 2, 1, 3, 1]);
  assert.deepEqual(unsqueeze(x, -5).shape, [1, 1, 2, 1, 3]);
  assert.throws(() => unsqueeze(x, 5), /unsqueeze: expected an axis of shape .* but got 5/);
  assert.deepEqual(flatten(x).shape, [6]);
  assert.deepEqual(flatten(x, 1, 2).shape, [1, 2, 3]);
  assert.deepEqual(flatten(x, -2).shape, [1, 2, 3]);
  assert.deepEqual(flatten(zeros([], { device })).shape, [1]);
  assert.deepEqual(flatten(zeros([2, 0, 3], { device }), 1).shape, [2, 0]);
  assert.throws(() => flatten(x, 2, 1), /flatten: expected start before end but got 2 and 1/);
  const y = tensor([[1, 2], [3, 4]], { device });
  const changed = (y: Tensor) => flatten(unsqueeze(y, 0), 1);
  assert.deepEqual(await changed(y).toArray(), [[1, 2, 3, 4]]);
  assert.deepEqual(await gradientOf(y, changed), [[1, 2], [3, 4]]);
});

await onEachDevice("oneHot() has a row for each id", async (device) => {
  using _scope = new Scope();
  const ids = tensor([[2, 0], [1, 5]], { device, dtype: "i32" });
  const rows = oneHot(ids, 3);
  assert.equal(rows.dtype, "i32");
  assert.deepEqual(await rows.toArray(), [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]]);
  const unsigned = tensor(Uint32Array.of(1), { device });
  assert.deepEqual(await oneHot(unsigned, 2, { dtype: "f32" }).toArray(), [[0, 1]]);
  assert.throws(() => oneHot(zeros([2], { device }), 3), /oneHot: expected ids of i32 or u32/);
  assert.throws(() => oneHot(ids, 0), /oneHot: expected 1 class or more but got 0/);
});
