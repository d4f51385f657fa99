import assert from "node:assert/strict";
import { gelu, relu, reluSquared } from "../../src/ops/activations.ts";
import { add } from "../../src/ops/elementwise.ts";
import {
  type AffineMap,
  feedForward,
  type FeedForwardOptions,
} from "../../src/ops/feed_forward.ts";
import { linear } from "../../src/ops/matmul.ts";
import { randn } from "../../src/ops/random.ts";
import { sum } from "../../src/ops/reduce.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import type { Device } from "../../src/device/device.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { assertTensorsClose } from "../support/compare.ts";
import { onDevice, onEachDevice, testWebGpu } from "../support/devices.ts";

const activations = {
  gelu: (x: Tensor) => gelu(x),
  geluTanh: (x: Tensor) => gelu(x, { approximate: "tanh" }),
  relu,
  reluSquared,
};

interface Sizes {
  rows: number[];
  inputs: number;
  width: number;
  outputs: number;
  biases?: boolean;
}

/** The value and all gradients against those of the three operations. */
async function check(
  device: Device,
  activation: keyof typeof activations,
  { rows, inputs, width, outputs, biases = true }: Sizes,
): Promise<void> {
  using _scope = new Scope();
  const random = new RandomState(7);
  const parameter = (...shape: number[]) => {
    const x = randn(shape, { device, random });
    x.requiresGrad = true;
    return x;
  };
  const x = parameter(...rows, inputs), residual = parameter(...rows, outputs);
  const up = { weight: parameter(width, inputs), bias: biases ? parameter(width) : undefined };
  const down = { weight: parameter(outputs, width), bias: biases ? parameter(outputs) : undefined };
  const all = [x, up.weight, up.bias, down.weight, down.bias, residual]
    .filter((tensor) => tensor !== undefined);
  const y = feedForward(x, up, down, { activation, residual });
  const hidden = activations[activation](linear(x, up.weight, up.bias));
  const expected = linear(hidden, down.weight, down.bias, { residual });
  await assertTensorsClose(y, expected, 2e-5);
  const alone = noGrad(() => feedForward(x, up, down, { activation, residual }));
  await assertTensorsClose(alone, y, 1e-6);

  const dy = randn(y.shape, { device, random });
  const gradients = (y: Tensor) => {
    // Twice, so that the second adds to the first.
    y.backward(dy);
    const grads = all.map((tensor) => tensor.grad!.alias());
    all.forEach((tensor) => tensor.grad = null);
    return grads;
  };
  const found = gradients(add(y, feedForward(x, up, down, { activation, residual })));
  const again = linear(
    activations[activation](linear(x, up.weight, up.bias)),
    down.weight,
    down.bias,
  );
  const wanted = gradients(add(expected, add(again, residual)));
  for (const [i, grad] of found.entries()) await assertTensorsClose(grad, wanted[i], 1e-4);
}

await onEachDevice("feedForward() is its three parts", async (device) => {
  await check(device, "geluTanh", { rows: [2, 7], inputs: 8, width: 20, outputs: 12 });
  await check(device, "geluTanh", { rows: [5], inputs: 3, width: 7, outputs: 5, biases: false });
  // The programs of the others are compared in pairs_test.ts.
  if (device.kind !== "cpu") return;
  await check(device, "gelu", { rows: [2, 7], inputs: 8, width: 20, outputs: 12 });
  await check(device, "reluSquared", { rows: [2, 7], inputs: 8, width: 20, outputs: 12 });
  await check(device, "relu", { rows: [2, 7], inputs: 8, width: 20, outputs: 12 });
});

await onEachDevice("feedForward() leaves out gradients that nobody asks for", async (device) => {
  using _scope = new Scope();
  const x = randn([4, 6], { device });
  const up = { weight: randn([8, 6], { device }), bias: randn([8], { device }) };
  const down = { weight: randn([6, 8], { device }), bias: randn([6], { device }) };
  up.bias.requiresGrad = true;
  // The input is the residual, too.
  const y = feedForward(x, up, down, { activation: "gelu", residual: x });
  sum(y).backward();
  const grad = up.bias.grad!.alias();
  up.bias.grad = null;
  const same = linear(gelu(linear(x, up.weight, up.bias)), down.weight, down.bias, { residual: x });
  sum(same).backward();
  await assertTensorsClose(up.bias.grad!, grad);
  for (const other of [x, up.weight, down.weight, down.bias]) assert.equal(other.grad, null);
  x.requiresGrad = true;
  sum(feedForward(x, up, down, { activation: "relu", residual: x })).backward();
  const both = x.grad!.alias();
  x.grad = null;
  sum(linear(relu(linear(x, up.weight, up.bias)), down.weight, down.bias, { residual: x }))
    .backward();
  await assertTensorsClose(x.grad!, both);
});

await onEachDevice("feedForward() says what does not fit", (device) => {
  using _scope = new Scope();
  const x = randn([4, 6], { device });
  const up = { weight: randn([8, 6], { device }) }, down = { weight: randn([6, 8], { device }) };
  const run = (up: AffineMap, down: AffineMap, options: object) => () =>
    feedForward(x, up, down, options as FeedForwardOptions);
  const options = { activation: "gelu" };
  assert.throws(
    run(down, down, options),
    /expected the weight of up of shape \[6, 6\] but got \[6, 8\]/,
  );
  assert.throws(
    run(up, up, options),
    /expected the weight of down of shape \[8, 8\] but got \[8, 6\]/,
  );
  const bias = randn([7], { device });
  assert.throws(run({ ...up, bias }, down, options), /the bias of up of shape \[8\] but got \[7\]/);
  assert.throws(run(up, down, { ...options, residual: bias }), /a residual of shape \[4, 6\] but/);
  assert.throws(run(up, down, { activation: "swish" }), /expected activation .* but got "swish"/);
});

const gpu = await testWebGpu();
if (gpu) {
  // The weights and what is between them are longer than a binding may be: products are cut in all directions.
  const limits = { maxStorageBufferBindingSize: 4096 };
  onDevice("feedForward() is its three parts where little can be bound", gpu, async () => {
    using device = await WebGpuDevice.open({ limits });
    const sizes = { rows: [40], inputs: 24, width: 96, outputs: 32 };
    await check(device, "geluTanh", { ...sizes, biases: false });
  });
}
