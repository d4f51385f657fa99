// What is stored as f16 is rounded to the nearest, and what f16 cannot hold becomes infinite, which the loss scaler sees.
import assert from "node:assert/strict";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { LossScaler } from "../../src/optim/loss_scaler.ts";
import { cast, mul } from "../../src/ops/elementwise.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { onEachDevice } from "../support/devices.ts";

/** Between neighbours of f16, nearer to one of them, both signs; subnormal; the largest that is finite. */
const BETWEEN = Float32Array.from(
  [1, 1.5, 3, 100, 1000, 0.1, 2 ** -12, 2 ** -15, 2 ** -20].flatMap((x) => {
    const step = x < 2 ** -14 ? 2 ** -24 : 2 ** (Math.floor(Math.log2(x)) - 10);
    return [0.1, 0.4, 0.6, 0.9].flatMap((part) => [x + part * step, -x - part * step]);
  }).concat([65504, 65519, -65519]),
);

await onEachDevice("f16 is rounded to the nearest", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const [half] = await readTensors([cast(tensor(BETWEEN, { device }), "f16")]);
  assert.deepEqual([...half], [...new Float16Array(BETWEEN)]);
});

await onEachDevice("f16 products, sums and casts overflow to infinity", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const x = tensor(Float16Array.from({ length: 64 }, () => 300), { device, shape: [8, 8] });
  const [product, square, total, large] = await readTensors([
    matmul(x, x),
    mul(x, x),
    sum(mul(x, 10)),
    cast(tensor([65520, -70000, 1e30], { device }), "f16"),
  ]);
  assert.ok([...product, ...square, ...total].every((value) => value === Infinity));
  assert.deepEqual([...large], [Infinity, -Infinity, Infinity]);
});

await onEachDevice("a gradient that overflows f16 lowers the loss scale", async (device) => {
  if (!device.dtypes.has("f16")) return;
  using _scope = new Scope();
  const weight = tensor(new Float16Array(16).fill(1), { device });
  weight.requiresGrad = true;
  const optimizer = new AdamW({ weight }, { lr: 0.1 });
  const scaler = new LossScaler(device, { initialScale: 2 ** 16 });
  const before = await weight.data();
  sum(mul(weight, 8)).backward(cast(scaler.scale, "f16"));
  const { factor } = clipGradNorm({ weight }, 1, { scaler });
  optimizer.step({ gradScale: factor });
  scaler.update(factor);
  const [[scale], [kept], after] = await readTensors([scaler.scale, factor, weight]);
  assert.deepEqual([scale, kept], [2 ** 15, 0]);
  assert.deepEqual(after, before);
  optimizer[Symbol.dispose]();
  scaler[Symbol.dispose]();
});
