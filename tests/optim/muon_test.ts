import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { LossScaler } from "../../src/optim/loss_scaler.ts";
import { Muon } from "../../src/optim/muon.ts";
import type { StoredTensor } from "../../src/optim/stored.ts";
import { cast } from "../../src/ops/elementwise.ts";
import { tensor } from "../../src/tensor/create.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertSame } from "../support/compare.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";

/** Numbers that look random and repeat. */
function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from(
    { length: count },
    (_, i) => Math.sin(i * i * 0.7 + i * 12.9898 + seed * 78.233) * 1.5,
  );
}

type Shapes = Readonly<Record<string, readonly number[]>>;

function parameters(device: Device, shapes: Shapes): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => {
      const values = numbers(shape.reduce((a, b) => a * b, 1), i + 1);
      return [name, tensor(values, { device, shape })];
    }),
  );
}

function setGrads(live: Record<string, Tensor>, step: number): void {
  Object.values(live).forEach((parameter, i) => {
    parameter.grad?.dispose();
    const { device, shape, size } = parameter;
    parameter.grad = tensor(numbers(size, 10 * step + i), { device, shape });
  });
}

/**
 * After three steps with lr 0.02, weight decay 0.1 and gradients `numbers(size, 10 step)`, by Keller Jordan's public code
 * (github.com/KellerJordan/Muon) in PyTorch and float64.
 */
// deno-fmt-ignore
const PYTORCH: readonly { shape: [number, number]; after: number[] }[] = [
  { shape: [3, 5], after: [0.4547682, -1.0773386, 0.2885831, -1.2296086, -0.0275159, -0.6475407, -1.1041529, 1.0026538,
    1.0158121, 0.7251738, 1.4705869, -1.3114972, 1.4036642, 1.2253754, 1.471341] },
  { shape: [6, 2], after: [0.4505061, -1.0692008, 0.2844228, -1.2195811, -0.025028, -0.6493519, -1.1029586, 1.0000848,
    1.009392, 0.7189143, 1.4679923, -1.2998765] },
  { shape: [4, 4], after: [0.4552469, -1.0770488, 0.2863587, -1.2283843, -0.0417749, -0.6492967, -1.1108162, 0.9974594,
    1.009129, 0.7296323, 1.4866852, -1.3086573, 1.4054194, 1.2308029, 1.4624353, -0.2756971] },
];

for (const { shape, after } of PYTORCH) {
  await onEachDevice(`Muon moves a matrix [${shape}] as PyTorch code does`, async (device) => {
    const live = parameters(device, { "h.0.weight": shape });
    using optimizer = new Muon(live, { lr: 0.02, weightDecay: 0.1 });
    for (const step of [1, 2, 3]) {
      setGrads(live, step);
      optimizer.step();
    }
    assertClose(await live["h.0.weight"].data(), after, 2e-6, "weight", 1);
  });
}

type Matrix = number[][];

function multiply(a: Matrix, b: Matrix): Matrix {
  return a.map((row) => b[0].map((_, j) => row.reduce((sum, x, k) => sum + x * b[k][j], 0)));
}

function transpose(a: Matrix): Matrix {
  return a[0].map((_, j) => a.map((row) => row[j]));
}

/** The plain reference, in float64: the formula of the doc comment, one matrix at a time. */
function orthogonalized(x: Matrix): Matrix {
  if (x.length > x[0].length) return transpose(orthogonalized(transpose(x)));
  const norm = Math.hypot(...x.flat());
  x = x.map((row) => row.map((value) => value / norm));
  for (let i = 0; i < 5; i++) {
    const gram = multiply(x, transpose(x));
    const square = multiply(gram, gram);
    const mixed = gram.map((row, r) => row.map((g, c) => -4.775 * g + 2.0315 * square[r][c]));
    const turned = multiply(mixed, x);
    x = x.map((row, r) => row.map((value, c) => 3.4445 * value + turned[r][c]));
  }
  return x;
}

function asMatrix(values: ArrayLike<number>, [rows, columns]: readonly number[]): Matrix {
  return Array.from(
    { length: rows },
    (_, r) => Array.from({ length: columns }, (_, c) => values[r * columns + c]),
  );
}

await onEachDevice(
  "Muon updates matrices of one shape together, AdamW the rest",
  async (device) => {
    const shapes = {
      "wte.weight": [9, 8],
      "h.0.up.weight": [16, 8],
      "h.1.up.weight": [16, 8],
      "h.2.up.weight": [16, 8],
      "h.0.down.weight": [8, 24],
      "h.1.down.weight": [8, 24],
      "h.0.bias": [24],
    };
    const live = parameters(device, shapes);
    const others = parameters(device, shapes);
    const lr = 0.03;
    using optimizer = new Muon(live, {
      adamW: { betas: [0.8, 0.9], lrScale: 0.5, weightDecay: 0.2 },
      groups: [{ select: (name) => name.includes("down"), lrScale: 2, weightDecay: 0.1 }],
    });
    using adamW = new AdamW(
      { "wte.weight": others["wte.weight"], "h.0.bias": others["h.0.bias"] },
      { lr: lr * 0.5, betas: [0.8, 0.9], weightDecay: 0.2 },
    );
    const matrices = Object.keys(shapes).filter((name) => /(up|down)\.weight/.test(name));
    const averages = matrices.map((name) => numbers(live[name].size, 0).map(() => 0));
    const expected = matrices.map((name) =>
      Array.from(numbers(live[name].size, 1 + Object.keys(shapes).indexOf(name)))
    );
    for (const step of [1, 2, 3]) {
      setGrads(live, step);
      setGrads(others, step);
      optimizer.step({ lr });
      adamW.step();
      matrices.forEach((name, k) => {
        const shape = live[name].shape;
        const g = numbers(live[name].size, 10 * step + Object.keys(shapes).indexOf(name));
        averages[k] = averages[k].map((mean, i) => 0.95 * mean + 0.05 * g[i]);
        const ahead = averages[k].map((mean, i) => 0.95 * mean + 0.05 * g[i]);
        const moved = orthogonalized(asMatrix(ahead, shape)).flat();
        const [rate, decay] = name.includes("down") ? [2 * lr, 0.1] : [lr, 0];
        const scale = Math.sqrt(Math.max(1, shape[0] / shape[1]));
        expected[k] = expected[k].map((p, i) => p - rate * decay * p - rate * scale * moved[i]);
      });
    }
    assert.deepEqual(matrices.length, 5);
    for (const [k, name] of matrices.entries()) {
      assertClose(await live[name].data(), expected[k], 3e-6, name, 1);
    }
    for (const name of ["wte.weight", "h.0.bias"]) {
      assertClose(await live[name].data(), await others[name].data(), 1e-7, name, 1);
    }
    assert.deepEqual([...optimizer.state().keys()], [
      "step",
      ...["m.wte.weight", "v.wte.weight"],
      ...matrices.map((name) => `momentum.${name}`),
      ...["m.h.0.bias", "v.h.0.bias"],
    ]);
  },
);

await onEachDevice("Muon's update has singular values around 1", async (device) => {
  for (const shape of [[48, 20], [20, 48], [32, 32]]) {
    const name = "h.0.weight";
    const live = parameters(device, { [name]: shape });
    using optimizer = new Muon(live, { lr: 1, weightDecay: 1 }); // what is left is the update
    setGrads(live, 1);
    optimizer.step();
    const scale = Math.sqrt(Math.max(1, shape[0] / shape[1]));
    const update = asMatrix((await live[name].data()).map((value) => value / scale), shape);
    const wide = shape[0] <= shape[1] ? update : transpose(update);
    const gram = multiply(wide, transpose(wide));
    // Of v^T A v / v^T v none is outside the eigenvalues of A, the squares of singular values.
    for (let seed = 0; seed < 20; seed++) {
      let v = asMatrix(numbers(gram.length, seed), [gram.length, 1]);
      for (let i = 0; i < 20; i++) v = multiply(gram, v); // towards the largest
      const [[rayleigh]] = multiply(transpose(v), multiply(gram, v));
      const largest = rayleigh / multiply(transpose(v), v)[0][0];
      assert.ok(largest < 1.25 ** 2, `${shape}: the largest squared singular value is ${largest}`);
    }
    const trace = gram.reduce((sum, row, i) => sum + row[i], 0) / gram.length;
    assert.ok(trace > 0.6 && trace < 1.3, `${shape}: the mean square is ${trace}`);
  }
});

const MODEL: Shapes = {
  "wte.weight": [11, 8],
  "h.0.weight": [16, 8],
  "h.1.weight": [16, 8],
  "h.0.bias": [8],
};

async function stored(optimizer: Muon): Promise<Map<string, StoredTensor>> {
  const saved = new Map<string, StoredTensor>();
  for (const [name, { shape, data }] of await copies(optimizer.state())) {
    saved.set(name, { shape, data });
  }
  return saved;
}

async function copies(tensors: ReadonlyMap<string, Tensor>) {
  const values = await readTensors([...tensors.values()]);
  return [...tensors].map(([name, { shape }], i) =>
    [name, { shape, data: values[i].slice() }] as const
  );
}

await onEachDevice("Muon.restore() goes on to the same bits", async (device) => {
  const live = parameters(device, MODEL);
  using optimizer = new Muon(live);
  for (const step of [1, 2, 3]) {
    setGrads(live, step);
    optimizer.step();
  }
  const saved = await stored(optimizer);
  const fresh = Object.fromEntries(
    (await copies(new Map(Object.entries(live)))).map(([name, { shape, data }]) =>
      [name, tensor(data, { device, shape })] as const
    ),
  );
  using restored = new Muon(fresh);
  restored.restore(saved);
  for (const [all, one] of [[live, optimizer], [fresh, restored]] as const) {
    for (const step of [4, 5]) {
      setGrads(all, step);
      one.step();
    }
  }
  for (const name in MODEL) assertSame(await fresh[name].data(), await live[name].data());
  using other = new AdamW(fresh);
  assert.throws(() => other.restore(saved), /AdamW: .*it has the foreign "momentum.h.0.weight"/);
});

await onEachDevice("Muon.step() changes nothing when a gradient is NaN", async (device) => {
  for (const bad of [NaN, Infinity]) {
    const live = parameters(device, MODEL);
    using optimizer = new Muon(live);
    setGrads(live, 1);
    optimizer.step();
    const tensors = [...Object.values(live), ...optimizer.state().values()];
    const before = await readTensors(tensors);
    const values = numbers(128, 3);
    values[17] = bad;
    live["h.1.weight"].grad!.dispose();
    live["h.1.weight"].grad = tensor(values, { device, shape: [16, 8] });
    const { factor } = clipGradNorm(live, 1);
    optimizer.step({ gradScale: factor });
    assertSame(await readTensors(tensors), before);
    // The run goes on as if that step had not been.
    setGrads(live, 2);
    optimizer.step();
    const fresh = parameters(device, MODEL);
    using other = new Muon(fresh);
    for (const step of [1, 2]) {
      setGrads(fresh, step);
      other.step();
    }
    for (const name in MODEL) assertSame(await live[name].data(), await fresh[name].data());
  }
});

await onEachDevice("Muon clips and takes the loss scale out of gradients", async (device) => {
  const [live, plain] = [parameters(device, MODEL), parameters(device, MODEL)];
  using scaler = new LossScaler(device, { initialScale: 1024 });
  using optimizer = new Muon(live);
  using unscaled = new Muon(plain);
  for (const step of [1, 2]) {
    setGrads(live, step);
    setGrads(plain, step);
    for (const parameter of Object.values(live)) {
      const { size, shape } = parameter;
      const values = (await parameter.grad!.data()).map((value) => value * 1024);
      parameter.grad!.dispose();
      parameter.grad = tensor(values.slice(0, size), { device, shape });
    }
    optimizer.step({ gradScale: clipGradNorm(live, 0.5 * step, { scaler }).factor });
    unscaled.step({ gradScale: clipGradNorm(plain, 0.5 * step).factor });
  }
  for (const name in MODEL) assertSame(await live[name].data(), await plain[name].data());
});

await onEachDevice("Muon updates f16 matrices in f32 masters", async (device) => {
  if (!device.dtypes.has("f16")) return;
  const half = Object.fromEntries(
    Object.entries(parameters(device, MODEL)).map(([name, p]) => [name, cast(p, "f16")]),
  );
  // The same values in f32.
  const single = Object.fromEntries(
    Object.entries(half).map(([name, p]) => [name, cast(p, "f32")]),
  );
  for (const [name, parameter] of Object.entries(half)) {
    const { shape, size } = parameter;
    parameter.grad = tensor(numbers(size, 5), { device, shape, dtype: "f16" });
    single[name].grad = cast(parameter.grad, "f32");
  }
  using optimizer = new Muon(half);
  using exact = new Muon(single);
  optimizer.step();
  exact.step();
  for (const name in MODEL) {
    const master = await optimizer.state().get(`master.${name}`)!.data();
    assertClose(master, await single[name].data(), 1e-6, name, 1);
    assertClose(await half[name].data(), master, 1e-3, name, 1);
  }
});

await onEachDevice("Muon refuses what makes no sense, and leaves no memory behind", (device) => {
  const live = parameters(device, MODEL);
  assert.throws(() => new Muon(live, { momentum: 1 }), /Muon: expected a momentum/);
  assert.throws(() => new Muon(live, { iterations: 0 }), /iterations of 1 or more/);
  assert.throws(() => new Muon(live, { adamW: { lrScale: -1 } }), RangeError);
  assert.throws(() => new Muon(live, { adamW: { betas: [0.9, 1] } }), /Muon: expected betas/);
  const all = { select: () => true };
  assert.throws(() => new Muon(live, all), /expected a matrix for "h.0.bias" but got \[8\]/);
  using optimizer = new Muon(live);
  const step = () => {
    setGrads(live, 1);
    optimizer.step();
    optimizer.zeroGrad();
  };
  step();
  const before = device.memory().live;
  for (let i = 0; i < 3; i++) step();
  assert.equal(device.memory().live, before);
});

Deno.test({
  name: "Muon cuts what the device cannot bind at once",
  ignore: await testWebGpu() === undefined,
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    using small = await WebGpuDevice.open({ limits: { maxStorageBufferBindingSize: 65_536 } });
    using large = await WebGpuDevice.open();
    const results: ArrayLike<number>[][] = [];
    const shapes = Object.fromEntries([0, 1, 2].map((i) => [`h.${i}.weight`, [96, 128]]));
    for (const device of [small, large]) {
      const live = parameters(device, shapes);
      using optimizer = new Muon(live);
      setGrads(live, 1);
      optimizer.step();
      results.push(await readTensors(Object.values(live)));
    }
    results[0].forEach((values, i) => assertClose(values, results[1][i], 1e-6, `matrix ${i}`, 1));
  },
});
