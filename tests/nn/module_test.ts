import assert from "node:assert/strict";
import { Dropout, Embedding, LayerNorm, Linear, RMSNorm } from "../../src/nn/layers.ts";
import * as init from "../../src/nn/init.ts";
import { Module, parameter, replaceParameters } from "../../src/nn/module.ts";
import { relu } from "../../src/ops/activations.ts";
import { binaryCrossEntropyWithLogits } from "../../src/ops/loss.ts";
import { sum } from "../../src/ops/reduce.ts";
import { AdamW } from "../../src/optim/adamw.ts";
import { ones, tensor, zeros } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import type { Device } from "../../src/device/device.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

/** Layers of rectified linear units: `layers.0.weight` and so on. */
class MLP extends Module {
  readonly layers: readonly Linear[];

  constructor(sizes: readonly number[], device: Device, random = new RandomState(1)) {
    super();
    this.layers = sizes.slice(1).map((size, i) => new Linear(sizes[i], size, { device, random }));
  }

  forward(x: Tensor): Tensor {
    const last = this.layers.length - 1;
    return this.layers.reduce((x, layer, i) => {
      const y = layer.forward(x);
      return i < last ? relu(y) : y;
    }, x);
  }
}

/** One of every kind of field. */
class Mixed extends Module {
  readonly table: Embedding;
  readonly tied: Tensor;
  readonly scale: Tensor;
  readonly mask: Tensor;
  readonly blocks: readonly MLP[];
  readonly norm: LayerNorm;
  readonly head: Linear;
  readonly drop = new Dropout(0.5);
  readonly size = 3;
  readonly #hidden: Linear;

  constructor(device: Device) {
    super();
    this.table = new Embedding(5, 2, { device });
    this.tied = this.table.weight;
    this.scale = parameter(ones([2], { device }));
    this.mask = zeros([2], { device }).keep();
    this.blocks = [new MLP([2, 3], device), new MLP([3, 2], device)];
    this.norm = new LayerNorm(2, { device });
    this.head = new Linear(2, 1, { device, bias: false });
    this.#hidden = new Linear(1, 1, { device });
  }

  disposeHidden(): void {
    this.#hidden.dispose();
  }
}

const MIXED_NAMES = [
  "table.weight",
  "scale",
  "blocks.0.layers.0.weight",
  "blocks.0.layers.0.bias",
  "blocks.1.layers.0.weight",
  "blocks.1.layers.0.bias",
  "norm.weight",
  "norm.bias",
  "head.weight",
];

await onEachDevice("Module finds parameters by the paths of fields, tied ones once", (device) => {
  using model = new Mixed(device);
  const found = model.parameters();
  assert.deepEqual([...found.keys()], MIXED_NAMES);
  assert.equal(found.get("table.weight"), model.table.weight);
  assert.equal(model.scale.name, "scale");
  assert.equal(model.blocks[1].layers[0].bias!.name, "blocks.1.layers.0.bias");
  assert.equal(model.parameterCount(), 10 + 2 + (6 + 3) + (6 + 2) + 2 + 2 + 2);
  assert.deepEqual(
    [...model.modules().keys()],
    [
      "",
      "table",
      "blocks.0",
      "blocks.0.layers.0",
      "blocks.1",
      "blocks.1.layers.0",
      "norm",
      "head",
      "drop",
    ],
  );
  assert.equal(model.device, device);
  assert.throws(() => new Dropout(0.1).device, /Dropout: expected a parameter but got none/);
  model.disposeHidden();
});

await onEachDevice("Module shows its modules and the shapes of parameters", (device) => {
  class Block extends Module {
    readonly norm = new RMSNorm(2, { device });
    readonly heads = [new Linear(2, 3, { device }), new Linear(2, 3, { bias: false, device })];
    readonly scale = parameter(ones([1], { device }));
    readonly drop = new Dropout(0.1);
  }
  class Model extends Module {
    readonly block = new Block();
  }
  using model = new Model();
  assert.equal(
    Deno.inspect(model),
    `Model of 18 parameters
  block: Block
    scale [1] f32
    norm: RMSNorm of weight [2] f32
    heads.0: Linear of weight [3, 2] f32, bias [3] f32
    heads.1: Linear of weight [3, 2] f32
    drop: Dropout`,
  );
});

await onEachDevice("Module finds what plain objects and nested arrays hold", async (device) => {
  class Experts extends Module {
    readonly heads = { left: new Linear(2, 1, { bias: false, device }), width: 2 };
    readonly grid = [[new Linear(2, 3, { bias: false, device })], [
      parameter(ones([1], { device })),
    ]];
    readonly elsewhere = new Map([["a", new Linear(1, 1, { device })]]);
  }
  using model = new Experts();
  assert.deepEqual([...model.parameters().keys()], [
    ...["heads.left.weight", "grid.0.0.weight", "grid.1.0"],
  ]);
  const old = model.grid[1]![0];
  const made = zeros([1], { device });
  await replaceParameters(model, (x) => Promise.resolve(x === old ? made : undefined));
  assert.equal(model.parameters().get("grid.1.0"), made);
  assert.ok((old as Tensor).disposed);
  model.elsewhere.forEach((layer) => layer.dispose());
});

await onEachDevice("Module.dispose() frees every tensor in the fields, constants too", (device) => {
  const before = device.memory().live;
  const model = new Mixed(device);
  model.disposeHidden();
  assert.ok(device.memory().live > before);
  model.dispose();
  assert.ok(
    model.mask.disposed && model.scale.disposed && model.blocks[1].layers[0].weight.disposed,
  );
  assert.equal(device.memory().live, before);
  model.dispose();
});

await onEachDevice("parameters outlive the scope that they were made in", async (device) => {
  let model: MLP;
  {
    using _scope = new Scope();
    model = new MLP([2, 3], device);
  }
  assert.deepEqual((await model.layers[0].bias!.data()).length, 3);
  model.dispose();
});

await onEachDevice(
  "Module.freeze() stops the gradients of a part, and unfreeze() lets them go on",
  async (device) => {
    using model = new MLP([2, 4, 1], device);
    using optimizer = new AdamW(model.parameters(), { lr: 0.1 });
    const [first, second] = model.layers;
    const step = (): void => {
      using _scope = new Scope();
      sum(model.forward(tensor([[1, 2]], { device }))).backward();
    };
    assert.equal(first.freeze(), first);
    assert.deepEqual(
      [...model.parameters().values()].map((tensor) => tensor.requiresGrad),
      [false, false, true, true],
    );
    const values = async () => [await first.weight.data(), await second.bias!.data()];
    const before = await values();
    step();
    assert.ok(!first.weight.grad && !first.bias!.grad && second.weight.grad && second.bias!.grad);
    optimizer.step();
    optimizer.zeroGrad();
    const after = await values();
    assertSame(after[0], before[0], "the frozen weight");
    assert.notDeepEqual(after[1], before[1]);
    first.unfreeze();
    step();
    assert.ok(first.weight.grad && second.weight.grad);
    optimizer.step();
    assert.notDeepEqual((await values())[0], before[0]);
    model.freeze();
    using y = model.forward(zeros([1, 2], { device }));
    assert.ok(!y.requiresGrad);
  },
);

await onEachDevice(
  "Module.loadStateDict() copies values, or lists what does not fit and changes nothing",
  async (device) => {
    using from = new MLP([2, 3, 1], device, new RandomState(1));
    using to = new MLP([2, 3, 1], device, new RandomState(2));
    using other = new MLP([2, 4, 1, 1], device);
    const values = async (model: MLP) =>
      await Promise.all([...model.stateDict().values()].map((tensor) => tensor.data()));
    const before = await values(to);
    await assert.rejects(to.loadStateDict(other.stateDict()), {
      name: "TypeError",
      message:
        /"layers.0.weight" of shape \[3, 2\] but got \[4, 2\].*unknown name "layers.2.weight"/,
    });
    const part = new Map([...from.stateDict()].slice(1));
    await assert.rejects(
      to.loadStateDict(part),
      /"layers.0.weight" of shape \[3, 2\] but got none/,
    );
    assertSame(await values(to), before);
    await to.loadStateDict(from.stateDict());
    assertSame(await values(to), await values(from));
    assert.notEqual(to.layers[0].weight, from.layers[0].weight);
    assert.ok(to.layers[0].weight.requiresGrad);
  },
);

/** Mean, standard deviation and the largest size. */
function statistics(values: ArrayLike<number>): { mean: number; std: number; bound: number } {
  const all = Array.from(values);
  const mean = all.reduce((sum, x) => sum + x, 0) / all.length;
  const std = Math.sqrt(all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / all.length);
  return { mean, std, bound: Math.max(...all.map(Math.abs)) };
}

/** Holds a parameter to a distribution: its standard deviation within 3 %, its bound where it is uniform. */
async function assertDistribution(
  tensor: Tensor,
  { std, bound, mean = 0 }: { std: number; bound?: number; mean?: number },
): Promise<void> {
  const found = statistics(await tensor.data());
  const what = `${tensor}: ${JSON.stringify(found)}`;
  assert.ok(Math.abs(found.mean - mean) < 5 * std / Math.sqrt(tensor.size), what);
  assert.ok(Math.abs(found.std - std) < 0.03 * std, what);
  if (bound !== undefined) {
    assert.ok(found.bound <= bound * (1 + 1e-6) && found.bound > 0.98 * bound, what);
  } else assert.ok(found.bound > 3 * std, what);
}

await onEachDevice("layers start as PyTorch's do", async (device) => {
  const random = new RandomState(7);
  using linear = new Linear(64, 512, { device, random });
  // kaiming_uniform_(a = sqrt(5)) and the bias: both uniform in +-1 / sqrt(64).
  await assertDistribution(linear.weight, { std: 1 / 8 / Math.sqrt(3), bound: 1 / 8 });
  await assertDistribution(linear.bias!, { std: 1 / 8 / Math.sqrt(3), bound: 1 / 8 });
  using table = new Embedding(500, 64, { device, random });
  await assertDistribution(table.weight, { std: 1 });
  using norm = new LayerNorm(3, { device });
  assert.deepEqual([...await norm.weight.data(), ...await norm.bias.data()], [1, 1, 1, 0, 0, 0]);
  using rms = new RMSNorm(2, { device });
  assert.deepEqual([...await rms.weight.data()], [1, 1]);
  using plain = new Linear(64, 512, { device, random, bias: false });
  assert.equal(plain.bias, undefined);
});

await onEachDevice("initialisers have PyTorch's variances", async (device) => {
  const [inputs, outputs] = [128, 256];
  const made = (initializer: init.Initializer): Tensor =>
    init.createParameter([outputs, inputs], initializer, { device, random: new RandomState(3) });
  const uniform = (bound: number) => ({ std: bound / Math.sqrt(3), bound });
  const cases: [init.Initializer, { std: number; bound?: number; mean?: number }][] = [
    [init.kaimingUniform(), uniform(Math.sqrt(6 / inputs))],
    [init.kaimingUniform(1), uniform(Math.sqrt(3 / inputs))],
    [init.kaimingNormal(), { std: Math.sqrt(2 / inputs) }],
    [init.xavierUniform(), uniform(Math.sqrt(6 / (inputs + outputs)))],
    [init.xavierNormal(2), { std: 2 * Math.sqrt(2 / (inputs + outputs)) }],
    [init.normal(0.02, 1), { std: 0.02, mean: 1 }],
    [init.uniform(-3, 3), uniform(3)],
  ];
  for (const [initializer, expected] of cases) {
    using weight = made(initializer);
    await assertDistribution(weight, expected);
  }
  assert.throws(
    () => init.createParameter([3], init.kaimingNormal(), { device }),
    /expected a matrix \(outputs, inputs\) but got \[3\]/,
  );
  using empty = init.createParameter([2, 2], init.normal(), { device, random: null });
  assert.deepEqual(await empty.toArray(), [[0, 0], [0, 0]]);
});

/** Two half circles that reach into each other, as scikit-learn's `make_moons`, with noise. */
function twoMoons(count: number, noise: number): { points: Float32Array; labels: Float32Array } {
  const points = new Float32Array(2 * count);
  const labels = new Float32Array(count);
  let state = 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
  for (let i = 0; i < count; i++) {
    const lower = i % 2;
    const angle = Math.PI * next();
    points[2 * i] = (lower ? 1 - Math.cos(angle) : Math.cos(angle)) + noise * (2 * next() - 1);
    points[2 * i + 1] = (lower ? 0.5 - Math.sin(angle) : Math.sin(angle)) +
      noise * (2 * next() - 1);
    labels[i] = lower;
  }
  return { points, labels };
}

await onEachDevice("an MLP of Linears separates two moons: accuracy 1.00", async (device) => {
  const { points, labels } = twoMoons(200, 0.15);
  using x = tensor(points, { device, shape: [200, 2] });
  using y = tensor(labels, { device, shape: [200, 1] });
  for (const seed of [1, 2, 3]) {
    using model = new MLP([2, 32, 32, 1], device, new RandomState(seed));
    using optimizer = new AdamW(model.parameters(), { lr: 0.02 });
    for (let step = 0; step < 150; step++) {
      using _step = new Scope();
      binaryCrossEntropyWithLogits(model.forward(x), y).backward();
      optimizer.step();
      optimizer.zeroGrad();
    }
    using _scope = new Scope();
    const logits = await noGrad(() => model.forward(x)).data();
    const right = labels.filter((label, i) => (logits[i] > 0) === (label === 1)).length;
    assert.equal(right / labels.length, 1, `seed ${seed}`);
  }
});
