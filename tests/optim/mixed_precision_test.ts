import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { LossScaler } from "../../src/optim/loss_scaler.ts";
import type { Optimizer } from "../../src/optim/optimizer.ts";
import { SGD } from "../../src/optim/sgd.ts";
import { tensor } from "../../src/tensor/create.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { deviceName, testDevices } from "../support/devices.ts";

const devices = (await testDevices()).filter((device) => device.dtypes.has("f16"));

/** One test for each device that has f16. */
function onEachWithHalf(name: string, body: (device: Device) => Promise<void>): void {
  for (const device of devices) {
    Deno.test({
      name: `${name} [${deviceName(device)}]`,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: () => body(device),
    });
  }
}

const weights = Float16Array.from({ length: 37 }, (_, i) => Math.sin(i + 1));
const grads = Float16Array.from({ length: 37 }, (_, i) => Math.cos(3 * i));

for (const name of ["AdamW", "SGD"] as const) {
  onEachWithHalf(`${name} updates f16 parameters through f32 masters`, async (device) => {
    const make = (parameter: ReturnType<typeof tensor>): Optimizer =>
      name === "AdamW"
        ? new AdamW({ parameter }, { lr: 1e-5 })
        : new SGD({ parameter }, { lr: 1e-6, momentum: 0.9 });
    const half = tensor(weights, { device });
    const full = tensor(weights, { device, dtype: "f32" });
    using mixed = make(half);
    using plain = make(full);
    half.grad = tensor(grads, { device });
    full.grad = tensor(grads, { device, dtype: "f32" });
    // Each step is smaller than f16 can add to a weight near 1; together they are not.
    for (let step = 0; step < 100; step++) {
      mixed.step();
      plain.step();
    }
    const [master, expected, seen] = await readTensors([
      mixed.state().get("master.parameter")!,
      full,
      half,
    ]);
    assert.deepEqual(master, expected);
    assert.deepEqual(seen, new Float16Array(expected));
    assert.notDeepEqual(seen, weights);
  });
}

onEachWithHalf(
  "LossScaler refuses overflowing steps, halves its scale and recovers",
  async (device) => {
    const parameter = tensor(weights, { device });
    using optimizer = new AdamW({ parameter }, { lr: 0.01 });
    using scaler = new LossScaler(device, { initialScale: 2 ** 16, growthInterval: 3 });
    const single = tensor(weights, { device, dtype: "f32" });
    using reference = new AdamW({ single }, { lr: 0.01 });
    const scales: number[] = [];
    let expected = 2 ** 16;
    let good = 0;
    for (let step = 0; step < 8; step++) {
      // The largest gradient is 1: 2^16 times that is more than f16 holds, 2^15 is not.
      parameter.grad = tensor(
        Float16Array.from(grads, (grad) => grad * expected),
        { device },
      );
      const { norm, factor } = clipGradNorm({ parameter }, 2, { scaler });
      optimizer.step({ gradScale: factor });
      scaler.update(factor);
      optimizer.zeroGrad();
      const [[length], [scale]] = await readTensors([norm, scaler.scale]);
      scales.push(scale);
      if (expected === 2 ** 16) {
        assert.equal(length, Infinity);
        expected /= 2;
        good = 0;
        continue;
      }
      const exact = Math.sqrt(grads.reduce((sum, grad) => sum + grad * grad, 0));
      assert(Math.abs(length / exact - 1) < 1e-4, `${length} for ${exact}`);
      single.grad = tensor(grads, { device, dtype: "f32" });
      const clipped = clipGradNorm({ single }, 2);
      reference.step({ gradScale: clipped.factor });
      reference.zeroGrad();
      if (++good === 3) {
        expected *= 2;
        good = 0;
      }
    }
    const [a, b] = [2 ** 15, 2 ** 16];
    assert.deepEqual(scales, [a, a, a, b, a, a, a, b]);
    const [mine, theirs] = await readTensors([optimizer.state().get("master.parameter")!, single]);
    mine.forEach((value, i) => assert(Math.abs(value - theirs[i]) < 1e-5));
    assert.equal(await optimizer.state().get("step")!.item(), 6);
  },
);

onEachWithHalf("LossScaler.restore() takes up its state", async (device) => {
  using scaler = new LossScaler(device);
  const stored = new Map([
    ["scale", { shape: [], data: Float32Array.of(512) }],
    ["good_steps", { shape: [], data: Float32Array.of(1999) }],
  ]);
  scaler.restore(stored);
  scaler.update(tensor([0.5], { device }));
  assert.equal(await scaler.scale.item(), 1024);
  stored.delete("scale");
  assert.throws(() => scaler.restore(stored), /LossScaler: .*lacks "scale"/);
  assert.throws(() => new LossScaler(device, { backoffFactor: 2 }), RangeError);
});
