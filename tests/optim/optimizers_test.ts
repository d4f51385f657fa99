import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { Linear } from "../../src/nn/layers.ts";
import { square, sub } from "../../src/ops/elementwise.ts";
import { mean } from "../../src/ops/reduce.ts";
import { Adam, AdamW } from "../../src/optim/adamw.ts";
import { checkGradNorm, NonFiniteGradientError } from "../../src/optim/check_grad_norm.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import type { Optimizer } from "../../src/optim/optimizer.ts";
import { SGD } from "../../src/optim/sgd.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertSame } from "../support/compare.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";

/** Numbers that look random and repeat. */
function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from(
    { length: count },
    (_, i) => Math.sin(i * 12.9898 + seed * 78.233) * 1.5,
  );
}

/** A matrix and a vector of awkward sizes. */
function parameters(device: Device): Record<"weight" | "bias", Tensor> {
  return {
    weight: tensor(numbers(35, 1), { device, shape: [5, 7] }),
    bias: tensor(numbers(8, 2), { device }),
  };
}

function setGrads(parameters: Record<string, Tensor>, step: number): void {
  Object.values(parameters).forEach((parameter, i) => {
    parameter.grad?.dispose();
    const { device, shape, size } = parameter;
    parameter.grad = tensor(numbers(size, 10 * step + i), { device, shape });
  });
}

async function close(actual: Tensor, expected: ArrayLike<number>, tolerance = 1e-6): Promise<void> {
  assertClose(await actual.data(), expected, tolerance, actual.name, 1);
}

for (const options of [{}, { momentum: 0.9 }, { momentum: 0.8, nesterov: true }]) {
  await onEachDevice(
    `SGD(${JSON.stringify(options)}) follows PyTorch's formula`,
    async (device) => {
      const live = parameters(device);
      using optimizer = new SGD(live, { lr: 0.1, weightDecay: 0.05, ...options });
      const { momentum = 0, nesterov = false } = options as {
        momentum?: number;
        nesterov?: boolean;
      };
      const expected = [Array.from(numbers(35, 1)), Array.from(numbers(8, 2))];
      const velocities = expected.map((values) => values.map(() => 0));
      for (let step = 1; step <= 3; step++) {
        setGrads(live, step);
        optimizer.step();
        expected.forEach((values, k) => {
          const grads = numbers(values.length, 10 * step + k);
          for (let i = 0; i < values.length; i++) {
            const g = grads[i] + 0.05 * values[i];
            velocities[k][i] = momentum * velocities[k][i] + g;
            values[i] -= 0.1 * (nesterov ? g + momentum * velocities[k][i] : velocities[k][i]);
          }
        });
      }
      await close(live.weight, expected[0]);
      await close(live.bias, expected[1]);
    },
  );
}

await onEachDevice("AdamW.step() follows the paper over many steps", async (device) => {
  const live = parameters(device);
  using optimizer = new AdamW(live, { betas: [0.9, 0.999], weightDecay: 0.1 });
  const p = Array.from(numbers(35, 1));
  const m = p.map(() => 0), v = p.map(() => 0);
  for (let step = 1; step <= 30; step++) {
    setGrads(live, step);
    const lr = 0.01 / step;
    optimizer.step({ lr });
    const grads = numbers(35, 10 * step);
    for (let i = 0; i < p.length; i++) {
      m[i] = 0.9 * m[i] + 0.1 * grads[i];
      v[i] = 0.999 * v[i] + 0.001 * grads[i] ** 2;
      p[i] -= lr * 0.1 * p[i] +
        lr * (m[i] / (1 - 0.9 ** step)) / (Math.sqrt(v[i] / (1 - 0.999 ** step)) + 1e-8);
    }
  }
  await close(live.weight, p);
  await close(optimizer.state().get("m.weight")!, m);
  await close(optimizer.state().get("v.weight")!, v);
  assert.equal(await optimizer.state().get("step")!.item(), 30);
});

await onEachDevice("AdamW decays matrices only, and groups decide otherwise", async (device) => {
  const zeroGrads = (live: Record<string, Tensor>) =>
    Object.values(live).forEach((parameter) =>
      parameter.grad = tensor(new Float32Array(parameter.size), { device, shape: parameter.shape })
    );
  const plain = parameters(device);
  using usual = new AdamW(plain, { lr: 0.5, weightDecay: 0.1 });
  zeroGrads(plain);
  usual.step();
  await close(plain.weight, numbers(35, 1).map((value) => value * 0.95));
  await close(plain.bias, numbers(8, 2));

  const grouped = parameters(device);
  using unusual = new AdamW(grouped, {
    lr: 0.5,
    weightDecay: 0.1,
    groups: [
      { select: (name) => name === "bias", weightDecay: 0.2 },
      { select: (_, parameter) => parameter.shape.length === 2, lrScale: 0.5 },
    ],
  });
  zeroGrads(grouped);
  unusual.step();
  await close(grouped.weight, numbers(35, 1).map((value) => value * 0.975));
  await close(grouped.bias, numbers(8, 2).map((value) => value * 0.9));
});

for (const name of ["AdamW", "SGD"] as const) {
  await onEachDevice(`${name}.step() changes nothing when a gradient is NaN`, async (device) => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const live = parameters(device);
      using optimizer: Optimizer = name === "AdamW"
        ? new AdamW(live, { lr: 0.1 })
        : new SGD(live, { lr: 0.1, momentum: 0.9 });
      setGrads(live, 1);
      optimizer.step();
      const tensors = [live.weight, live.bias, ...optimizer.state().values()];
      const before = await readTensors(tensors);
      const values = numbers(35, 3);
      values[17] = bad;
      live.weight.grad!.dispose();
      live.weight.grad = tensor(values, { device, shape: [5, 7] });
      const { norm, factor } = clipGradNorm(live, 1);
      optimizer.step({ gradScale: factor });
      optimizer.step(); // finds out by itself
      assertSame(await readTensors(tensors), before);
      const length = await norm.item();
      assert(!Number.isFinite(length));
      await assert.rejects(checkGradNorm(length, live), (error: NonFiniteGradientError) => {
        assert(error instanceof NonFiniteGradientError);
        assert.deepEqual(error.parameters, ["weight"]);
        assert.match(
          error.message,
          /"weight" \[5, 7\] \(1 of 35 elements, the first -?\w+ at 17\)/,
        );
        return true;
      });
      // The run goes on as if that step had not been.
      setGrads(live, 2);
      optimizer.step();
      const fresh = parameters(device);
      using other: Optimizer = name === "AdamW"
        ? new AdamW(fresh, { lr: 0.1 })
        : new SGD(fresh, { lr: 0.1, momentum: 0.9 });
      for (const step of [1, 2]) {
        setGrads(fresh, step);
        other.step();
      }
      await close(live.weight, await fresh.weight.data(), 0);
    }
  });
}

await onEachDevice("clipGradNorm() gives norm and factor of all gradients", async (device) => {
  const odd = tensor(numbers(10_001, 5), { device });
  const even = tensor(numbers(70_000, 6), { device, shape: [700, 100] });
  const none = tensor([1], { device });
  odd.grad = tensor(numbers(10_001, 7), { device });
  even.grad = tensor(numbers(70_000, 8), { device, shape: [700, 100] });
  let squares = 0;
  for (const grad of [numbers(10_001, 7), numbers(70_000, 8)]) {
    for (const value of grad) squares += value * value;
  }
  const expected = Math.sqrt(squares);
  for (const maxNorm of [1, 1000, Infinity]) {
    const clipped = clipGradNorm({ odd, even, none }, maxNorm);
    const [[norm], [factor]] = await readTensors([clipped.norm, clipped.factor]);
    assert(Math.abs(norm / expected - 1) < 1e-6, `${norm} for ${expected}`);
    assert(Math.abs(factor / Math.min(1, maxNorm / expected) - 1) < 2e-6, `${factor}`);
  }
});

await onEachDevice(
  "Optimizer.restore() goes on exactly where state() was taken",
  async (device) => {
    const live = parameters(device);
    using optimizer = new AdamW(live, { lr: 0.01 });
    for (const step of [1, 2, 3]) {
      setGrads(live, step);
      optimizer.step();
    }
    const saved = new Map<string, { shape: readonly number[]; data: Float32Array }>();
    for (const [name, tensor] of optimizer.state()) {
      saved.set(name, { shape: tensor.shape, data: (await tensor.data()).slice() as Float32Array });
    }
    const copies = {
      weight: tensor((await live.weight.data()).slice(), { device, shape: [5, 7] }),
      bias: tensor((await live.bias.data()).slice(), { device }),
    };
    using restored = new AdamW(copies, { lr: 0.01 });
    restored.restore(saved);
    for (const [all, one] of [[live, optimizer], [copies, restored]] as const) {
      setGrads(all, 4);
      one.step();
    }
    await close(copies.weight, await live.weight.data(), 0);
    await close(copies.bias, await live.bias.data(), 0);

    const m = "m.weight";
    const without = new Map([...saved].filter(([name]) => name !== m));
    without.set("m.other", saved.get(m)!);
    assert.throws(() => restored.restore(without), /lacks "m.weight".*foreign "m.other"/);
    const reshaped = new Map(saved).set(m, { shape: [7, 5], data: saved.get(m)!.data });
    assert.throws(
      () => restored.restore(reshaped),
      /expected the saved "m.weight" of shape \[5, 7\].*but got \[7, 5\]/,
    );
  },
);

await onEachDevice("Optimizers and clipGradNorm() refuse what makes no sense", (device) => {
  const live = parameters(device);
  assert.throws(() => new AdamW({}), /AdamW: expected parameters but got none/);
  const ids = tensor([1, 2], { device, dtype: "i32" });
  assert.throws(() => new Adam({ ids }), /expected f32 or f16 for "ids" but got i32/);
  const twice = { one: live.bias, two: live.bias };
  assert.throws(
    () => new SGD(twice),
    /expected each tensor once but got the same one as "one" and "two"/,
  );
  assert.throws(() => new SGD(live, { nesterov: true }), RangeError);
  assert.throws(() => new SGD(live, { lr: -1 }), RangeError);
  assert.throws(() => new AdamW(live, { betas: [0.9, 1] }), RangeError);
  using optimizer = new AdamW(live);
  assert.throws(() => optimizer.step(), /^TypeError: AdamW: expected a gradient but got none/);
  assert.throws(() => clipGradNorm(live, 1), /expected a gradient but got none/);
  setGrads(live, 1);
  assert.throws(() => clipGradNorm(live, 0), RangeError);
  assert.throws(() => optimizer.step({ lr: NaN }), RangeError);
  assert.throws(
    () => optimizer.step({ gradScale: live.weight }),
    /expected a gradScale of one f32/,
  );
  live.bias.grad = tensor([1, 2], { device });
  assert.throws(() => optimizer.step(), /a gradient of "bias" of shape \[8\] but got \[2\]/);
});

await onEachDevice("Optimizer.step() does not forget the factor of clipGradNorm()", (device) => {
  const live = parameters(device);
  using optimizer = new AdamW(live);
  setGrads(live, 1);
  clipGradNorm(live, Infinity); // the norm alone is no clipping
  optimizer.step();
  const { factor } = clipGradNorm(live, 1);
  assert.throws(
    () => optimizer.step(),
    /AdamW\.step: expected gradScale, the factor that clipGrad/,
  );
  optimizer.step({ gradScale: factor });
  setGrads(live, 1);
  optimizer.step();
});

await onEachDevice("Optimizer.step() leaves no memory behind", (device) => {
  const live = parameters(device);
  using optimizer = new AdamW(live);
  const step = () => {
    setGrads(live, 1);
    const { norm, factor } = clipGradNorm(live, 1);
    optimizer.step({ gradScale: factor });
    optimizer.step();
    [norm, factor].forEach((tensor) => tensor.dispose());
    optimizer.zeroGrad();
  };
  step();
  const before = device.memory().live;
  for (let i = 0; i < 5; i++) step();
  assert.equal(device.memory().live, before);
});

Deno.test({
  name: "AdamW and clipGradNorm() cut what the device cannot bind at once",
  ignore: await testWebGpu() === undefined,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    using small = await WebGpuDevice.open({
      limits: { maxStorageBufferBindingSize: 65_536 + 100 },
    });
    using large = await WebGpuDevice.open();
    const results = [];
    for (const device of [small, large]) {
      const weight = tensor(numbers(100_002, 1), { device, shape: [2, 50_001] });
      weight.grad = tensor(numbers(100_002, 2), { device, shape: [2, 50_001] });
      using optimizer = new AdamW({ weight }, { lr: 0.01 });
      const { norm, factor } = clipGradNorm({ weight }, 1);
      optimizer.step({ gradScale: factor });
      results.push([await norm.item(), await weight.data()]);
    }
    assertSame(results[0], results[1]);
  },
});

await onEachDevice("the smallest layers can be trained", async (device) => {
  for (const inputs of [1, 3]) {
    using _scope = new Scope();
    const layer = new Linear(inputs, 1, { device });
    using optimizer = new SGD(layer.parameters(), { lr: 0.1 });
    const x = tensor(numbers(8 * inputs, 3), { device, shape: [8, inputs] });
    const losses: Tensor[] = [];
    for (let step = 0; step < 20; step++) {
      losses.push(mean(square(sub(layer.forward(x), 1))));
      losses.at(-1)!.backward();
      optimizer.step();
      optimizer.zeroGrad();
    }
    const [first, last] = [await losses[0]!.item(), await losses.at(-1)!.item()];
    assert.ok(last < first / 2, `${inputs} inputs: from ${first} to ${last}`);
  }
});
