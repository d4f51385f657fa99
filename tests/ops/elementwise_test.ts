import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import {
  gelu,
  leakyRelu,
  relu,
  reluSquared,
  sigmoid,
  silu,
  softcap,
  softplus,
  swiglu,
  tanh,
} from "../../src/ops/activations.ts";
import {
  abs,
  add,
  cast,
  clamp,
  cos,
  div,
  equal,
  exp,
  floor,
  greater,
  isNaN,
  less,
  log,
  logicalAnd,
  logicalNot,
  maskedFill,
  maximum,
  minimum,
  mul,
  neg,
  notEqual,
  pow,
  reciprocal,
  rsqrt,
  sin,
  sqrt,
  square,
  sub,
  tril,
  triu,
  where,
} from "../../src/ops/elementwise.ts";
import { sum } from "../../src/ops/reduce.ts";
import { arange, onesLike, tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

/** Holds the gradient of `sum(f(x))` against differences of `g`, the same function in double precision. */
async function checkSlope(
  device: Device,
  f: (x: Tensor) => Tensor,
  g: (x: number) => number,
  points: number[],
): Promise<void> {
  using _scope = new Scope();
  const x = tensor(points, { device });
  x.requiresGrad = true;
  const y = f(x);
  sum(y).backward();
  const values = await y.data();
  const slopes = await x.grad!.data();
  points.forEach((point, i) => {
    const exact = g(Math.fround(point));
    const h = 1e-5;
    const slope = (g(point + h) - g(point - h)) / (2 * h);
    assert.ok(Math.abs(values[i] - exact) <= 3e-6 * Math.max(1, Math.abs(exact)), `f(${point})`);
    assert.ok(
      Math.abs(slopes[i] - slope) <= 1e-4 * Math.max(1, Math.abs(slope)),
      `slope at ${point}: expected ${slope} but got ${slopes[i]}`,
    );
  });
}

const POINTS = [-3.2, -1.1, -0.4, 0.3, 0.9, 2.7];
const ABOVE_ZERO = [0.05, 0.4, 1, 2.5, 9];
const sigmoidOf = (x: number): number => 1 / (1 + Math.exp(-x));

await onEachDevice("functions of one tensor have the slope of their values", async (device) => {
  await checkSlope(device, exp, Math.exp, POINTS);
  await checkSlope(device, log, Math.log, ABOVE_ZERO);
  await checkSlope(device, sqrt, Math.sqrt, ABOVE_ZERO);
  await checkSlope(device, rsqrt, (x) => 1 / Math.sqrt(x), ABOVE_ZERO);
  await checkSlope(device, reciprocal, (x) => 1 / x, POINTS);
  await checkSlope(device, abs, Math.abs, POINTS);
  await checkSlope(device, leakyRelu, (x) => x < 0 ? 0.01 * x : x, POINTS);
  const leaky = (x: Tensor) => leakyRelu(x, { negativeSlope: 0.2 });
  await checkSlope(device, leaky, (x) => x < 0 ? 0.2 * x : x, POINTS);
  await checkSlope(device, square, (x) => x * x, POINTS);
  await checkSlope(device, neg, (x) => -x, POINTS);
  await checkSlope(device, sin, Math.sin, [...POINTS, 100, -31.5]);
  await checkSlope(device, cos, Math.cos, [...POINTS, 100, -31.5]);
  await checkSlope(device, tanh, Math.tanh, POINTS);
  await checkSlope(device, sigmoid, sigmoidOf, POINTS);
  await checkSlope(device, silu, (x) => x * sigmoidOf(x), POINTS);
  await checkSlope(device, softplus, (x) => Math.log1p(Math.exp(x)), POINTS);
  await checkSlope(device, relu, (x) => Math.max(x, 0), POINTS);
  await checkSlope(device, reluSquared, (x) => Math.max(x, 0) ** 2, POINTS);
  await checkSlope(device, (x) => softcap(x, 2), (x) => 2 * Math.tanh(x / 2), POINTS);
  await checkSlope(device, (x) => clamp(x, -1, 1), (x) => Math.min(1, Math.max(-1, x)), POINTS);
});

await onEachDevice("arithmetic with a number on either side has its slope", async (device) => {
  await checkSlope(device, (x) => sub(2, x), (x) => 2 - x, POINTS);
  await checkSlope(device, (x) => sub(x, 2), (x) => x - 2, POINTS);
  await checkSlope(device, (x) => div(2, x), (x) => 2 / x, POINTS);
  await checkSlope(device, (x) => div(x, 4), (x) => x / 4, POINTS);
  await checkSlope(device, (x) => pow(x, 3), (x) => x ** 3, POINTS);
  await checkSlope(device, (x) => pow(x, -1.5), (x) => x ** -1.5, ABOVE_ZERO);
  await checkSlope(device, (x) => pow(2, x), (x) => 2 ** x, POINTS);
  await checkSlope(device, (x) => maximum(x, 0.5), (x) => Math.max(x, 0.5), POINTS);
  await checkSlope(device, (x) => minimum(0.5, x), (x) => Math.min(x, 0.5), POINTS);
});

await onEachDevice("gradients of stretched operands are summed back", async (device) => {
  using _scope = new Scope();
  const a = tensor([[1, 2, 3], [4, 5, 6]], { device });
  const b = tensor([[2], [3]], { device });
  a.requiresGrad = b.requiresGrad = true;
  const near = async (x: Tensor, expected: number[]) => {
    const values = await x.grad!.data();
    assert.equal(values.length, expected.length);
    expected.forEach((value, i) => assert.ok(Math.abs(values[i] / value - 1) < 1e-5, `${values}`));
    x.grad!.dispose();
    x.grad = null;
  };
  sum(mul(a, b)).backward();
  await near(a, [2, 2, 2, 3, 3, 3]);
  await near(b, [6, 15]);
  sum(div(a, b)).backward();
  await near(a, [1 / 2, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]);
  await near(b, [-6 / 4, -15 / 9]);
  sum(pow(a, b)).backward();
  await near(a, [2, 4, 6, 48, 75, 108]);
  const weighted = (...values: number[]) =>
    values.reduce((total, x) => total + x ** (values.length === 2 ? 2 : 3) * Math.log(x), 0);
  await near(b, [weighted(2, 3), weighted(4, 5, 6)]);
  sum(maximum(a, b)).backward(); // equals share: 2 against 2
  assert.deepEqual(await a.grad!.toArray(), [[0, 0.5, 1], [1, 1, 1]]);
  assert.deepEqual(await b.grad!.toArray(), [[1.5], [0]]);
});

await onEachDevice("NaN survives, and tanh does not overflow", async (device) => {
  using _scope = new Scope();
  const x = tensor([NaN, 100, -100, Infinity, 0], { device });
  assert.deepEqual(await relu(x).toArray(), [NaN, 100, 0, Infinity, 0]);
  assert.deepEqual(await maximum(x, 3).toArray(), [NaN, 100, 3, Infinity, 3]);
  assert.deepEqual(await minimum(x, 3).toArray(), [NaN, 3, -100, 3, 0]);
  assert.deepEqual(await clamp(x, -1, 1).toArray(), [NaN, 1, -1, 1, 0]);
  const [nan, one, minusOne, limit] = await tanh(x).data();
  assert.ok(Number.isNaN(nan) && one > 0.999999 && minusOne < -0.999999 && limit > 0.999999);
  assert.deepEqual(await equal(x, x).toArray(), [0, 1, 1, 1, 1]);
  assert.deepEqual(await notEqual(x, x).toArray(), [1, 0, 0, 0, 0]);
  assert.ok(Number.isNaN((await gelu(x).data())[0]));
});

await onEachDevice("comparisons and where choose", async (device) => {
  using _scope = new Scope();
  const a = tensor([[1, 5, 3], [4, 2, 6]], { device });
  const row = tensor([3, 3, 3], { device });
  const above = greater(a, row);
  assert.equal(above.dtype, "u32");
  assert.deepEqual(await above.toArray(), [[0, 1, 0], [1, 0, 1]]);
  assert.deepEqual(await logicalNot(above).toArray(), [[1, 0, 1], [0, 1, 0]]);
  assert.deepEqual(await logicalAnd(above, less(a, 6)).toArray(), [[0, 1, 0], [1, 0, 0]]);
  assert.deepEqual(await where(above, a, row).toArray(), [[3, 5, 3], [4, 3, 6]]);
  assert.deepEqual(await maskedFill(a, above, -1).toArray(), [[1, -1, 3], [-1, 2, -1]]);
});

await onEachDevice("integers wrap, divide towards zero and are cast", async (device) => {
  using _scope = new Scope();
  const a = tensor(Int32Array.of(-7, 7, 2 ** 31 - 1), { device });
  assert.deepEqual(await div(a, 2).toArray(), [-3, 3, 2 ** 30 - 1]);
  assert.deepEqual(await add(a, 1).toArray(), [-6, 8, -(2 ** 31)]);
  assert.deepEqual(await mul(a, a).toArray(), [49, 49, 1]);
  assert.deepEqual(await cast(tensor([-1.7, 2.9], { device }), "i32").toArray(), [-1, 2]);
});

await onEachDevice("cast() carries a gradient between f32 and f16", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const x = tensor([1, 2, 3], { device });
  x.requiresGrad = true;
  const half = cast(x, "f16");
  assert.equal(half.dtype, "f16");
  sum(cast(square(half), "f32")).backward();
  assert.equal(x.grad!.dtype, "f32");
  assert.deepEqual(await x.grad!.toArray(), [2, 4, 6]);
});

await onEachDevice("elementwise operations refuse what does not fit", (device) => {
  using _scope = new Scope();
  const a = tensor([[1, 2, 3]], { device });
  const whole = tensor([1, 2, 3], { device, dtype: "i32" });
  const other = tensor([[1, 2]], { device });
  assert.throws(
    () => add(a, other),
    /add: expected shapes that broadcast but got \[1, 3\] and \[1, 2\]/,
  );
  assert.throws(() => add(a, whole), /add: expected one dtype/);
  assert.throws(() => add(whole, 0.5), /expected an integer/);
  assert.throws(() => add(1, 2), /expected a tensor/);
  assert.throws(() => gelu(whole), /gelu: expected f32 or f16/);
  assert.throws(() => softcap(tensor([1], { device }), 0), /softcap: expected a cap above 0/);
  assert.throws(() => clamp(a, 2, 1), /min <= max/);
  assert.throws(() => neg(cast(whole, "u32")), /sign/);
  assert.throws(() => swiglu(a, other), /\[1, 3\] and \[1, 2\]/);
  a.requiresGrad = true;
  assert.throws(() => sum(floor(a)).backward(), /floor: expected an operand without a gradient/);
});

await onEachDevice("isNaN() finds NaN of every dtype", async (device) => {
  using _scope = new Scope();
  const values = [NaN, 0, Infinity, -Infinity, -NaN, 1];
  for (const dtype of ["f32", "f16"] as const) {
    if (!device.dtypes.has(dtype)) continue;
    const found = isNaN(tensor(values, { device, dtype }));
    assert.equal(found.dtype, "u32");
    assert.deepEqual(await found.toArray(), [1, 0, 0, 0, 1, 0]);
  }
  assert.deepEqual(await isNaN(tensor([1, 2], { device, dtype: "i32" })).toArray(), [0, 0]);
});

await onEachDevice("tril() and triu() keep a triangle, in the gradient too", async (device) => {
  using _scope = new Scope();
  for (const [rows, columns] of [[3, 3], [2, 4], [4, 2]]) {
    for (const diagonal of [-5, -1, 0, 1, 5]) {
      const size = 2 * rows * columns;
      const x = arange(size, { device, start: 1, dtype: "f32" }).alias([2, rows, columns]);
      x.requiresGrad = true;
      for (
        const [f, stays] of [[tril, (d: number) => d <= 0], [triu, (d: number) => d >= 0]] as const
      ) {
        const inside = Array.from({ length: size }, (_, i) => {
          const row = Math.floor(i / columns) % rows;
          return stays(i % columns - row - diagonal) ? 1 : 0;
        });
        x.grad = null;
        const y = f(x, diagonal);
        assert.deepEqual([...await y.data()], inside.map((kept, i) => kept * (i + 1)));
        sum(y).backward();
        assert.deepEqual([...await x.grad!.data()], inside);
      }
    }
  }
  const nan = tensor([[1, NaN], [3, 4]], { device });
  assert.deepEqual(await tril(nan).toArray(), [[1, 0], [3, 4]]);
  const ids = tensor([[1, 2], [3, 4]], { device, dtype: "i32" });
  assert.deepEqual(await triu(ids).toArray(), [[1, 2], [0, 4]]);
  assert.deepEqual(await tril(onesLike(ids)).toArray(), [[1, 0], [1, 1]]);
  assert.throws(() => tril(tensor([1], { device })), /tril: expected two axes or more/);
  assert.throws(() => triu(nan, 0.5), /triu: .* an integer diagonal but got .* 0.5/);
});

await onEachDevice(
  "integer tensors take numbers of their whole range, and no others",
  async (device) => {
    using _scope = new Scope();
    const u32 = tensor([0, 5, 3e9, 4294967295], { device, dtype: "u32" });
    assert.deepEqual(await less(u32, 3e9).toArray(), [1, 1, 0, 0]);
    assert.deepEqual(await equal(3e9, u32).toArray(), [0, 0, 1, 0]);
    assert.deepEqual(await maximum(u32, 3e9).toArray(), [3e9, 3e9, 3e9, 4294967295]);
    assert.deepEqual(await div(u32, 4294967295).toArray(), [0, 0, 0, 1]);
    assert.deepEqual(await clamp(u32, -1, 3000000001).toArray(), [0, 5, 3e9, 3000000001]);
    const i32 = tensor([-(2 ** 31), 7, 2 ** 31 - 1], { device, dtype: "i32" });
    assert.deepEqual(await clamp(i32, -Infinity, 16777217).toArray(), [-(2 ** 31), 7, 16777217]);
    assert.throws(() => less(u32, -1), /less: expected an integer from 0 to 4294967295 for .* -1/);
    assert.throws(
      () => equal(i32, 3e9),
      /equal: expected an integer from -2147483648 to 2147483647/,
    );
    assert.throws(() => clamp(i32, 0.5, 2), /clamp: expected an integer .* but got 0.5/);
  },
);

await onEachDevice("log() is NaN below 0 and for NaN", async (device) => {
  using _scope = new Scope();
  const x = tensor([-0.5, -1, -1e-30, -Infinity, NaN, -3e38, 1, Infinity], { device });
  const nan = [NaN, NaN, NaN, NaN, NaN, NaN];
  assert.deepEqual(await log(x).toArray(), [...nan, 0, Infinity]);
});

await onEachDevice("log() is accurate near 1", async (device) => {
  using _scope = new Scope();
  const offsets = [-0.26, -0.24, -1e-3, -1e-5, 1e-6, 3e-4, 0.01, 0.24, 0.26];
  const points = Float32Array.from(offsets, (offset) => 1 + offset);
  const y = await log(tensor(points, { device })).data();
  points.forEach((x, i) => {
    assert.ok(Math.abs(y[i]! / Math.log(x) - 1) < 1e-5, `log(${x}): ${y[i]}`);
  });
});

await onEachDevice("softplus() is accurate far below 0", async (device) => {
  using _scope = new Scope();
  const points = [-60, -20, -15, -10, -5, -1, 0, 1, 20];
  const y = await softplus(tensor(points, { device })).data();
  points.forEach((x, i) => {
    const ratio = y[i]! / (Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))));
    assert.ok(Math.abs(ratio - 1) < 1e-5, `softplus(${x}): ${y[i]}`);
  });
});

await onEachDevice(
  "div() has a gradient where the square of the divisor overflows",
  async (device) => {
    using _scope = new Scope();
    const a = tensor([1e20, 1e-20], { device }), b = tensor([1e20, 1e-20], { device });
    b.requiresGrad = true;
    sum(div(a, b)).backward();
    const [far, near] = await b.grad!.data();
    assert.ok(Math.abs(far! / -1e-20 - 1) < 1e-5 && Math.abs(near! / -1e20 - 1) < 1e-5);
  },
);

await onEachDevice("gelu() of GPT-2 has the slopes 0 and 1 at any distance", async (device) => {
  using _scope = new Scope();
  const x = tensor([-1e30, -1e13, 1e13, 1e30], { device });
  x.requiresGrad = true;
  sum(gelu(x, { approximate: "tanh" })).backward();
  assertClose(await x.grad!.data(), [0, 0, 1, 1], 1e-6);
});
