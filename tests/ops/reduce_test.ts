import assert from "node:assert/strict";
import { mul } from "../../src/ops/elementwise.ts";
import {
  all,
  any,
  argmax,
  argmin,
  cumsum,
  logsumexp,
  max,
  mean,
  min,
  norm,
  std,
  sum,
  variance,
} from "../../src/ops/reduce.ts";
import { full, tensor, zeros } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { random } from "../kernels/case.ts";
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { assertReference } from "../support/reference.ts";

await onEachDevice("sum() and mean() reduce any axes", async (device) => {
  using _scope = new Scope();
  const x = tensor([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]], { device });
  assert.equal(await sum(x).item(), 78);
  assert.deepEqual(await sum(x, [0, 2]).toArray(), [18, 26, 34]);
  assert.deepEqual(await sum(x, 1, { keepdim: true }).toArray(), [[[9, 12]], [[27, 30]]]);
  assert.deepEqual(await mean(x, -1).toArray(), [[1.5, 3.5, 5.5], [7.5, 9.5, 11.5]]);
  assert.deepEqual(await sum(x, []).toArray(), await x.toArray());
  assert.deepEqual(await variance(tensor([1, 2, 3, 4], { device })).item(), Math.fround(5 / 3));
});

await onEachDevice("sum() of many is accurate", async (device) => {
  using _scope = new Scope();
  // Rows longer than one pass of either device takes, and columns likewise.
  for (const shape of [[1, 300001], [3, 70001], [9001, 5], [2, 5001, 3]]) {
    const size = shape.reduce((product, length) => product * length, 1);
    const values = random(size).map((value) => value + 1);
    const exact = values.reduce((total, value) => total + value, 0);
    const x = tensor(values, { device, shape });
    const axis = shape.length - 2;
    for (const total of [sum(x), sum(sum(x, axis)), sum(sum(x, -1))]) {
      const found = await total.item();
      assert.ok(Math.abs(found - exact) < 1e-6 * exact, `${shape}: ${exact} but got ${found}`);
    }
  }
});

await onEachDevice("sum() of many equal numbers is accurate", async (device) => {
  using _scope = new Scope();
  const exact = 600_000 * Math.fround(0.1);
  for (const shape of [[600_000], [200_000, 3]]) {
    const total = await sum(sum(full(shape, 0.1, { device }), 0)).item();
    assert.ok(Math.abs(total / exact - 1) < 5e-6, `${shape}: ${exact} but got ${total}`);
  }
});

await onEachDevice("variance() and max() of f16 are computed in f32", async (device) => {
  using _scope = new Scope();
  if (!device.dtypes.has("f16")) return;
  const far = tensor([100, -100, 100, -100, 100, -100, 100, -100], { device, dtype: "f16" });
  assert.equal(await variance(far, 0, { correction: 0 }).item(), 10_000);
  const equals = zeros([70_000], { device, dtype: "f16" });
  equals.requiresGrad = true;
  max(equals).backward(2);
  const [share] = await equals.grad!.data();
  assert.ok(Math.abs(share! * 35_000 - 1) < 2e-3, `${share}`);
});

await onEachDevice("sum() of integers is exact", async (device) => {
  using _scope = new Scope();
  const ones = full([70000], 16777, { device, dtype: "i32" });
  assert.equal(await sum(ones).item(), 70000 * 16777);
});

await onEachDevice("reductions of nothing", async (device) => {
  using _scope = new Scope();
  const none = zeros([2, 0], { device });
  assert.deepEqual(await sum(none, 1).toArray(), [0, 0]);
  assert.deepEqual(await mean(none, 1).toArray(), [NaN, NaN]);
  assert.deepEqual(await variance(none, 1).toArray(), [NaN, NaN]);
  assert.throws(() => norm(none, 1, { p: Infinity }), /norm: expected at least one element/);
  assert.deepEqual(await sum(none, 0).toArray(), []);
  assert.throws(() => max(none, 1), /max: expected at least one element but got shape \[2, 0\]/);
  assert.throws(() => argmax(none), /argmax: expected at least one element/);
  assert.deepEqual(max(none, 0).shape, [0]);
});

await onEachDevice("max() and min() share their gradient among equals", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 4, 4], [7, -2, 3]], { device });
  x.requiresGrad = true;
  sum(mul(max(x, 1), tensor([1, 10], { device }))).backward();
  assert.deepEqual(await x.grad!.toArray(), [[0, 0.5, 0.5], [10, 0, 0]]);
  assert.deepEqual(await min(x, 0).toArray(), [1, -2, 3]);
  assert.equal(await max(x).item(), 7);
  assert.ok(Number.isNaN(await max(tensor([1, NaN, 2], { device })).item()));
});

await onEachDevice("argmax() and argmin() find the first", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 4, 4], [7, -2, 3]], { device });
  assert.deepEqual(await argmax(x, -1).toArray(), [1, 0]);
  assert.deepEqual(await argmin(x, 0, { keepdim: true }).toArray(), [[0, 1, 1]]);
  assert.equal(await argmax(x).item(), 3);
  assert.equal(argmax(x, 1).dtype, "i32");
  x.requiresGrad = true;
  assert.throws(() => argmax(x).backward(), /depends on one that requires a gradient/);
});

await onEachDevice("mean() hands its gradient to every element", async (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2], [3, 4]], { device });
  x.requiresGrad = true;
  mean(x, [0, 1]).backward();
  assert.deepEqual(await x.grad!.toArray(), [[0.25, 0.25], [0.25, 0.25]]);
});

await onEachDevice("reductions refuse axes that are not there", (device) => {
  using _scope = new Scope();
  const x = tensor([[1, 2]], { device });
  assert.throws(() => sum(x, 2), /sum: expected an axis of shape \[1, 2\] but got 2/);
  assert.throws(() => sum(x, [0, -2]), /expected different axes but got \[0, -2\]/);
  assert.throws(() => mean(tensor([1], { device, dtype: "i32" })), /expected f32 or f16/);
});

await onEachDevice("norm() of every order, and its gradient", async (device) => {
  const shape = [3, 4];
  const order = (p: number) => (row: Float64Array): number =>
    p === Infinity
      ? Math.max(...row.map(Math.abs))
      : row.reduce((total, x) => total + Math.abs(x) ** p, 0) ** (1 / p);
  for (const p of [0.5, 1, 1.5, 2, 3, Infinity]) {
    const expected = order(p);
    await assertReference(device, [{ shape }], (x) => norm(x, undefined, { p }), (x) => [
      expected(x),
    ], `p ${p}`);
    await assertReference(
      device,
      [{ shape }],
      (x) => norm(x, 1, { p, keepdim: true }),
      (x) => [0, 1, 2].map((row) => expected(x.slice(4 * row, 4 * row + 4))),
      `rows, p ${p}`,
    );
  }
});

await onEachDevice("norm() of zeros has the gradient 0, not NaN", async (device) => {
  using _scope = new Scope();
  for (const p of [0.5, 1, 1.5, 2, 3]) {
    const x = tensor([[0, 0], [0, 2]], { device });
    x.requiresGrad = true;
    sum(norm(x, 1, { p })).backward();
    assertClose(await x.grad!.data(), [0, 0, 0, 1], 1e-6, `p ${p}`);
  }
});

await onEachDevice("norm() of f16 does not overflow on the way", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const x = tensor([3000, 4000], { device, dtype: "f16" });
  const y = norm(x);
  assert.deepEqual([y.dtype, await y.item()], ["f16", 5000]);
});

await onEachDevice("norm() refuses integers and orders of 0 and below", (device) => {
  using _scope = new Scope();
  const x = tensor([1, 2], { device });
  assert.throws(() => norm(x, 0, { p: 0 }), /norm: expected p above 0 but got 0/);
  assert.throws(() => norm(tensor([1], { device, dtype: "i32" })), /norm: expected f32 or f16/);
});

/** The standard deviation in float64. */
function deviation(x: Float64Array, correction: number): number {
  const mean = x.reduce((total, value) => total + value, 0) / x.length;
  const squares = x.reduce((total, value) => total + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (x.length - correction));
}

await onEachDevice("std() and its gradient, 0 for equal numbers", async (device) => {
  const shape = [3, 4];
  await assertReference(device, [{ shape }], (x) => std(x), (x) => [deviation(x, 1)], "all");
  await assertReference(
    device,
    [{ shape }],
    (x) => std(x, 1, { correction: 0, keepdim: true }),
    (x) => [0, 4, 8].map((at) => deviation(x.slice(at, at + 4), 0)),
    "rows",
  );
  using _scope = new Scope();
  const x = tensor([[5, 5], [1, 3]], { device });
  x.requiresGrad = true;
  const y = std(x, 1);
  assertClose(await y.data(), [0, Math.SQRT2], 1e-6);
  sum(y).backward();
  // torch.std: 0 where the deviation is 0
  assertClose(await x.grad!.data(), [0, 0, -Math.SQRT1_2, Math.SQRT1_2], 1e-6);
  assert.deepEqual(await std(tensor([3], { device })).item(), NaN);
  assert.throws(() => std(tensor([1], { device, dtype: "i32" })), /std: expected f32 or f16/);
});

await onEachDevice("logsumexp() and its gradient", async (device) => {
  const exact = (x: ArrayLike<number>) =>
    Math.log(Array.from(x).reduce((total, value) => total + Math.exp(value), 0));
  await assertReference(device, [{ shape: [3, 4] }], (x) => logsumexp(x), (x) => [exact(x)], "all");
  await assertReference(
    device,
    [{ shape: [2, 3, 2] }],
    (x) => logsumexp(x, [0, 2], { keepdim: true }),
    (x) => [0, 2, 4].map((at) => exact([x[at], x[at + 1], x[at + 6], x[at + 7]])),
    "two axes",
  );
});

await onEachDevice("logsumexp() of large numbers and of infinite ones", async (device) => {
  using _scope = new Scope();
  const values = [[1000, 1000], [-Infinity, -3], [-Infinity, -Infinity], [Infinity, 0], [NaN, 0]];
  const x = tensor(values, { device });
  const y = logsumexp(x, 1);
  assert.deepEqual(await y.toArray(), [
    Math.fround(1000 + Math.LN2),
    -3,
    -Infinity,
    Infinity,
    NaN,
  ]);
  const finite = tensor(values.slice(0, 3), { device });
  finite.requiresGrad = true;
  sum(logsumexp(finite, 1)).backward();
  assertClose(await finite.grad!.data(), [0.5, 0.5, 0, 1, 0, 0], 1e-4);
  assert.throws(
    () => logsumexp(zeros([2, 0], { device }), 1),
    /logsumexp: expected at least one element but got shape \[2, 0\]/,
  );
  if (!device.dtypes.has("f16")) return;
  const half = logsumexp(tensor([20, 20], { device, dtype: "f16" }));
  assert.equal(half.dtype, "f16");
  assertClose(await half.data(), [20 + Math.LN2], 1e-3);
});

await onEachDevice("any() and all() of any dtype", async (device) => {
  using _scope = new Scope();
  const x = tensor([[0, NaN], [0, 0], [2, -1]], { device });
  assert.deepEqual(await any(x, 1).toArray(), [1, 0, 1]);
  assert.deepEqual(await all(x, -1, { keepdim: true }).toArray(), [[0], [0], [1]]);
  assert.equal(await any(x).item(), 1);
  assert.equal(await all(x).item(), 0);
  assert.equal(any(x).dtype, "u32");
  const none = zeros([2, 0], { device, dtype: "i32" });
  assert.deepEqual(await any(none, 1).toArray(), [0, 0]);
  assert.deepEqual(await all(none, 1).toArray(), [1, 1]);
  assert.throws(() => all(x, 2), /all: expected an axis of shape \[3, 2\] but got 2/);
});

await onEachDevice("cumsum() along any axis, and its gradient", async (device) => {
  const shape = [2, 5, 3];
  for (const axis of [0, 1, 2, -1]) {
    const at = axis < 0 ? axis + 3 : axis;
    const inner = shape.slice(at + 1).reduce((a, b) => a * b, 1);
    await assertReference(device, [{ shape }], (x) => cumsum(x, axis), (x) => {
      const y = Float64Array.from(x);
      for (let i = 0; i < y.length; i++) {
        if (Math.floor(i / inner) % shape[at]) y[i] += y[i - inner];
      }
      return y;
    }, `axis ${axis}`);
  }
  using _scope = new Scope();
  const ids = tensor([3, -4, 5], { device, dtype: "i32" });
  assert.deepEqual(await cumsum(ids, 0).toArray(), [3, -1, 4]);
  assert.deepEqual(cumsum(zeros([0, 3], { device }), 0).shape, [0, 3]);
  assert.throws(() => cumsum(ids, 1), /cumsum: expected an axis of shape \[3\] but got 1/);
});
