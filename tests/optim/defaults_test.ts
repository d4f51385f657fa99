// Options of optimizers, clipping, loss scaling and schedules: what their documentation says of each.
import assert from "node:assert/strict";
import { Adam, AdamW, type AdamWOptions } from "../../src/optim/adamw.ts";
import { checkGradNorm, NonFiniteGradientError } from "../../src/optim/check_grad_norm.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { LossScaler } from "../../src/optim/loss_scaler.ts";
import type { Optimizer } from "../../src/optim/optimizer.ts";
import type { NamedParameters } from "../../src/optim/parameters.ts";
import { warmupCosine, warmupLinear } from "../../src/optim/schedule.ts";
import { SGD, type SGDOptions } from "../../src/optim/sgd.ts";
import { tensor } from "../../src/tensor/create.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

const [device] = await testDevices();
/** Devices and their threads live as long as the process. */
const open = { sanitizeResources: false, sanitizeOps: false };

/** A matrix and a vector after three steps, whose gradients differ from step to step. */
async function trained(make: (parameters: NamedParameters) => Optimizer): Promise<number[][]> {
  const matrix = tensor([[0.5, -1], [2, 0.25]], { device });
  const vector = tensor([1, -0.75, 0.001], { device });
  using optimizer = make({ matrix, vector });
  for (let step = 1; step <= 3; step++) {
    // Small ones, too, so that eps counts.
    matrix.grad = tensor([[0.3 * step, -1e-7], [-0.2, 4e-8 * step]], { device });
    vector.grad = tensor([-0.4, 0.1 / step, 1e-7], { device });
    optimizer.step();
    optimizer.zeroGrad();
  }
  return (await readTensors([matrix, vector])).map((values) => Array.from(values));
}

function differ(a: number[][], b: number[][]): boolean {
  return a.flat().some((value, i) => Math.abs(value - b.flat()[i]) > 1e-7);
}

Deno.test("AdamW, Adam and SGD have the defaults that are documented", open, async () => {
  const adamw: Required<Omit<AdamWOptions, "groups">> = {
    ...{ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
  };
  const usual = await trained((parameters) => new AdamW(parameters));
  assert.deepEqual(await trained((parameters) => new AdamW(parameters, adamw)), usual);
  const otherwise: AdamWOptions[] = [
    ...[{ lr: 2e-3 }, { betas: [0.8, 0.999] }, { betas: [0.9, 0.99] }] as const,
    ...[{ eps: 1e-7 }, { weightDecay: 0.1 }, { weightDecay: 0 }],
  ];
  for (const options of otherwise) {
    const found = await trained((parameters) => new AdamW(parameters, options));
    assert.ok(differ(found, usual), `${JSON.stringify(options)} changes nothing`);
  }
  const adam = await trained((parameters) => new AdamW(parameters, { weightDecay: 0 }));
  assert.deepEqual(await trained((parameters) => new Adam(parameters)), adam);

  const sgd = await trained((parameters) => new SGD(parameters));
  const plain: SGDOptions = { lr: 1e-3, momentum: 0, nesterov: false, weightDecay: 0 };
  assert.deepEqual(await trained((parameters) => new SGD(parameters, plain)), sgd);
  const moving = await trained((parameters) => new SGD(parameters, { momentum: 0.9 }));
  const others: SGDOptions[] = [
    ...[{ lr: 0.01 }, { weightDecay: 0.1 }, { momentum: 0.9 }, { momentum: 0.5 }],
    { momentum: 0.9, nesterov: true },
  ];
  const found = [
    sgd,
    ...await Promise.all(
      others.map((options) => trained((parameters) => new SGD(parameters, options))),
    ),
  ];
  found.forEach((one, i) =>
    found.slice(i + 1).forEach((other) => assert.ok(differ(one, other), JSON.stringify(others)))
  );
  assert.ok(!differ(found[3], moving));
});

Deno.test(
  "groups of SGD and AdamW have their own decay and rate, the first that fits",
  open,
  async () => {
    for (const Type of [SGD, AdamW] as const) {
      const run = async (options: SGDOptions) => {
        const [matrix, vector] = await trained((parameters) => new Type(parameters, options));
        return { matrix, vector };
      };
      const isMatrix = (name: string) => name === "matrix";
      const all = () => true;
      const usual = await run({ weightDecay: 0.5 });
      const none = await run({
        weightDecay: 0.5,
        groups: [{ select: isMatrix, weightDecay: 0 }],
      });
      assert.deepEqual(none.matrix, (await run({ weightDecay: 0 })).matrix, Type.name);
      assert.deepEqual(none.vector, usual.vector, Type.name);
      const first = await run({
        weightDecay: 0.5,
        groups: [{ select: isMatrix, weightDecay: 0 }, { select: all, weightDecay: 0.9 }],
      });
      assert.deepEqual(first.matrix, none.matrix, Type.name);
      const heavy = await run({ weightDecay: 0.9, groups: [{ select: all, weightDecay: 0.9 }] });
      assert.deepEqual(first.vector, heavy.vector, Type.name);
      assert.notDeepEqual(first.vector, usual.vector, Type.name);
      const slow = await run({ lr: 0.1, groups: [{ select: isMatrix, lrScale: 0.5 }] });
      assert.deepEqual(slow.matrix, (await run({ lr: 0.05 })).matrix, Type.name);
      assert.deepEqual(slow.vector, (await run({ lr: 0.1 })).vector, Type.name);
    }
  },
);

Deno.test("AdamW decays matrices and no vectors where nothing else is said", open, async () => {
  const [matrix, vector] = await trained((parameters) => new AdamW(parameters, { weightDecay: 0 }));
  const decayed = await trained((parameters) => new AdamW(parameters, { weightDecay: 0.5 }));
  assert.notDeepEqual(decayed[0], matrix);
  assert.deepEqual(decayed[1], vector);
});

Deno.test("a step without any gradient is refused, and does not count", open, async () => {
  const parameter = tensor([1, 2], { device });
  using optimizer = new AdamW({ parameter });
  const gradScale = tensor([1], { device });
  assert.throws(() => optimizer.step({ gradScale }), TypeError);
  assert.throws(() => optimizer.step(), TypeError);
  assert.equal(await optimizer.state().get("step")!.item(), 0);
});

await onEachDevice("clipGradNorm() takes the loss scale out of norm and factor", async (device) => {
  const parameter = tensor([0, 0], { device });
  parameter.grad = tensor([3 * 1024, 4 * 1024], { device });
  using scaler = new LossScaler(device, { initialScale: 1024 });
  for (const [maxNorm, kept] of [[1, 0.2], [5, 1], [100, 1], [Infinity, 1]] as const) {
    const { norm, factor } = clipGradNorm({ parameter }, maxNorm, { scaler });
    const [[length], [scale]] = await readTensors([norm, factor]);
    assert.ok(Math.abs(length - 5) < 1e-5, `${length}`);
    assert.ok(Math.abs(scale * 1024 - kept) < 1e-6, `at most ${maxNorm}: ${scale}`);
  }
  const { norm, factor } = clipGradNorm({ parameter }, Infinity);
  const [[length], [scale]] = await readTensors([norm, factor]);
  assert.ok(Math.abs(length / 5120 - 1) < 1e-6);
  assert.equal(scale, 1);
});

await onEachDevice(
  "LossScaler has the defaults and the bounds that are documented",
  async (device) => {
    using scaler = new LossScaler(device);
    const [good, bad] = [tensor([0.5], { device }), tensor([0], { device })];
    const scale = () => scaler.scale.item();
    assert.equal(await scale(), 2 ** 16);
    scaler.update(bad);
    assert.equal(await scale(), 2 ** 15);
    const steps = scaler.state().get("good_steps")!;
    const stored = (count: number, scale: number) =>
      new Map([
        ["scale", { shape: [], data: Float32Array.of(scale) }],
        ["good_steps", { shape: [], data: Float32Array.of(count) }],
      ]);
    scaler.restore(stored(1998, 2 ** 15));
    scaler.update(good);
    assert.deepEqual([await scale(), await steps.item()], [2 ** 15, 1999]);
    scaler.update(good);
    assert.deepEqual([await scale(), await steps.item()], [2 ** 16, 0]);
    scaler.restore(stored(1999, 2 ** 24));
    scaler.update(good);
    assert.deepEqual([await scale(), await steps.item()], [2 ** 24, 0], "no higher than 2^24");
    scaler.restore(stored(1999, 1));
    scaler.update(bad);
    assert.deepEqual([await scale(), await steps.item()], [1, 0], "no lower than 1");
  },
);

Deno.test("checkGradNorm() names three parameters and counts the rest", open, async () => {
  const names = ["fine", "a", "b", "c", "d", "e"];
  const parameters = new Map(names.map((name, i) => {
    const parameter = tensor([0, 0, 0], { device });
    // Not finite from the very first element on, in the middle, at the end.
    const values = [0, 1, 2].map((at) => name !== "fine" && at >= i % 3 ? Infinity : 1);
    parameter.grad = tensor(values, { device });
    return [name, parameter];
  }));
  await assert.rejects(checkGradNorm(Infinity, parameters), (error: unknown) => {
    assert.ok(error instanceof NonFiniteGradientError);
    assert.deepEqual(error.parameters, ["a", "b", "c", "d", "e"]);
    assert.match(error.message, /"a" \[3\] \(2 of 3 elements, the first Infinity at 1\)/);
    assert.match(error.message, /"c" \[3\] \(3 of 3 elements, the first Infinity at 0\)/);
    assert.match(error.message, / and 2 more$/);
    assert.doesNotMatch(error.message, /"d"/);
    return true;
  });
});

Deno.test("schedules follow their formulas at every step", () => {
  const [maxLr, minLr, warmupSteps, decaySteps] = [0.8, 0.1, 7, 12];
  const options = { maxLr, minLr, warmupSteps, decaySteps };
  const curves = [
    { lr: warmupCosine(options), fall: (x: number) => (1 + Math.cos(Math.PI * x)) / 2 },
    { lr: warmupLinear(options), fall: (x: number) => 1 - x },
  ];
  for (const { lr, fall } of curves) {
    for (let step = 0; step <= 40; step++) {
      const part = Math.min(1, (step - warmupSteps) / decaySteps);
      const wanted = step <= warmupSteps
        ? maxLr * step / warmupSteps
        : minLr + (maxLr - minLr) * fall(part);
      assert.ok(Math.abs(lr(step) - wanted) < 1e-12, `step ${step}: ${lr(step)}, not ${wanted}`);
    }
  }
  for (const make of [warmupCosine, warmupLinear]) {
    assert.equal(make({ maxLr: 1, totalSteps: 8 })(1000), 0, "down to 0 where nothing is said");
    assert.throws(() => make({ maxLr: Infinity, decaySteps: 4 }), RangeError);
    assert.throws(() => make({ maxLr: 1, decaySteps: 0 }), RangeError);
  }
});

await onEachDevice(
  "a sum of squares that overflows only in all refuses the step",
  async (device) => {
    // Each gradient's sum is 2e38, which f32 has; both together are not.
    const names = ["a", "b"];
    const parameters = new Map(names.map((name) => {
      const parameter = tensor([0], { device });
      parameter.grad = tensor([Math.sqrt(2e38)], { device });
      return [name, parameter];
    }));
    const one = clipGradNorm(new Map([...parameters].slice(0, 1)), 1);
    const both = clipGradNorm(parameters, 1);
    const values = await readTensors([one.norm, one.factor, both.norm, both.factor]);
    const [[norm], [factor], [whole], [refused]] = values;
    assert.ok(Number.isFinite(norm) && factor > 0, `${norm}, ${factor}`);
    assert.deepEqual([whole, refused], [Infinity, 0]);
  },
);

Deno.test("AdamW adds eps to the corrected root, in f16 as in f32", open, async () => {
  const steps = async (dtype: "f16" | "f32") => {
    const parameter = tensor([[1, -2]], { device, dtype });
    parameter.grad = tensor([[0.25, -0.5]], { device });
    using optimizer = new AdamW({ parameter }, { lr: 0.5, eps: 0.25, weightDecay: 0 });
    optimizer.step();
    return await parameter.data();
  };
  // Of the first step both averages, corrected, are the gradient and its square.
  const wanted = [1 - 0.5 * 0.25 / (0.25 + 0.25), -2 + 0.5 * 0.5 / (0.5 + 0.25)];
  for (const dtype of ["f32", ...device.dtypes.has("f16") ? ["f16"] as const : []] as const) {
    (await steps(dtype)).forEach((value, i) =>
      assert.ok(Math.abs(value - wanted[i]) < 2e-3, `${dtype}: ${value}, not ${wanted[i]}`)
    );
  }
});
