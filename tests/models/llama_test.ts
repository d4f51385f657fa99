import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { gatedIntermediateSize } from "../../src/models/decoder.ts";
import { LLaMA, type LLaMAConfig } from "../../src/models/llama.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { zeroGrad } from "../../src/optim/parameters.ts";
import { concat, reshape, slice } from "../../src/ops/shape.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { assertTensorsClose } from "../support/compare.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

const [cpu] = await testDevices();
const sizes = {
  vocabSize: 11,
  maxPositionEmbeddings: 8,
  hiddenSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 6,
};

function shapeOf(config: LLaMAConfig, name: string): readonly number[] {
  const model = new LLaMA(config, { device: cpu });
  const { shape } = model.parameters().get(name)!;
  model.dispose();
  return shape;
}

Deno.test("LLaMA() spends on the MLP what grouped queries save", () => {
  const up = "model.layers.1.mlp.up_proj.weight";
  const keys = "model.layers.1.self_attn.k_proj.weight";
  // 2/3 of 4 E, and of 4 E + E - K with K = 24 / 6 * 2 = 8.
  assert.deepEqual(shapeOf(sizes, up), [64, 24]);
  assert.deepEqual(shapeOf({ ...sizes, numKeyValueHeads: 2 }, up), [75, 24]);
  assert.deepEqual(shapeOf({ ...sizes, numKeyValueHeads: 2 }, keys), [8, 24]);
  assert.equal(gatedIntermediateSize(sizes, 30), 20);
  assert.deepEqual(shapeOf({ ...sizes, numKeyValueHeads: 2, intermediateSize: 50 }, up), [50, 24]);
});

Deno.test("LLaMA() takes the embedding for the output matrix when tied", () => {
  const [tied, untied] = [true, false].map((tieWordEmbeddings) =>
    new LLaMA({ ...sizes, tieWordEmbeddings }, { device: cpu })
  );
  assert.equal(tied.parameters().has("lm_head.weight"), false);
  assert.equal(untied.parameterCount() - tied.parameterCount(), 11 * 24);
  [tied, untied].forEach((model) => model.dispose());
});

Deno.test("LLaMA() throws when heads do not divide", () => {
  const make = (config: Partial<LLaMAConfig>) => () =>
    new LLaMA({ ...sizes, ...config }, { device: cpu });
  assert.throws(
    make({ numAttentionHeads: 5 }),
    RangeError(
      "LLaMA: expected numAttentionHeads to divide hiddenSize into even sizes but got 5 and 24",
    ),
  );
  assert.throws(make({ numAttentionHeads: 8 }), /even sizes but got 8 and 24/);
  assert.throws(
    make({ numKeyValueHeads: 4 }),
    RangeError(
      "LLaMA: expected numKeyValueHeads to divide numAttentionHeads but got 4 and 6",
    ),
  );
});

Deno.test("LLaMA.logits() throws for ids that are no sequences within the context", () => {
  const model = new LLaMA(sizes, { device: cpu });
  using _scope = new Scope();
  const ids = (...shape: number[]) =>
    tensor(new Int32Array(shape.reduce((a, b) => a * b, 1)), { shape, device: cpu });
  assert.throws(
    () => model.logits(ids(1, 9)),
    RangeError("LLaMA: expected sequences of at most 8 tokens but got ids of shape [1, 9]"),
  );
  assert.throws(
    () => model.logits(ids(3)),
    TypeError("LLaMA: expected ids of shape [B, T] but got [3]"),
  );
  assert.throws(
    () => model.logits(ids(2, 0)),
    RangeError("LLaMA: expected one token or more but got ids of shape [2, 0]"),
  );
  model.dispose();
});

await onEachDevice(
  "LLaMA.hiddenStates() shows attention weights that are causal",
  async (device) => {
    const model = new LLaMA({ ...sizes, numKeyValueHeads: 2 }, {
      device,
      random: new RandomState(1),
    });
    using _scope = new Scope();
    const ids = tensor([[1, 2, 3, 4]], { device, dtype: "i32" });
    const seen = new Map<string, Promise<Float32Array>>();
    model.hiddenStates(ids, {
      observe: (weights, name) => {
        assert.deepEqual(weights.shape, [1, 6, 4, 4]);
        seen.set(name, weights.data() as Promise<Float32Array>);
      },
    });
    assert.deepEqual([...seen.keys()], ["model.layers.0.self_attn", "model.layers.1.self_attn"]);
    for (const weights of await Promise.all(seen.values())) {
      for (let row = 0; row < 24; row++) {
        const one = weights.subarray(row * 4, row * 4 + 4);
        assert.ok(Math.abs(one.reduce((a, b) => a + b) - 1) < 1e-5);
        assert.ok(one.every((weight, key) => (weight > 0) === (key <= row % 4)));
      }
    }
    model.dispose();
  },
);

await onEachDevice(
  "LLaMA with half-split pairs is the interleaved one with its rows reordered",
  async (device) => {
    const interleaved = new LLaMA({ ...sizes, numKeyValueHeads: 3, ropeLayout: "interleaved" }, {
      device,
      random: new RandomState(5),
    });
    const halfSplit = new LLaMA({ ...sizes, numKeyValueHeads: 3 }, {
      device,
      random: new RandomState(5),
    });
    using _scope = new Scope();
    const ids = tensor([[3, 1, 4, 1, 5, 9, 2, 6]], { device, dtype: "i32" });
    const [width, embed] = [4, 24];
    for (const [name, parameter] of interleaved.parameters()) {
      if (!/[qk]_proj/.test(name)) continue;
      // Large, so that attention depends on where the tokens stand.
      const rows = (await parameter.data() as Float32Array).map((value) => 30 * value);
      assign(parameter, rows);
      const moved = new Float32Array(rows.length);
      for (let row = 0; row < rows.length / embed; row++) {
        const [head, i] = [Math.floor(row / width), row % width];
        const to = head * width + (i % 2) * width / 2 + Math.floor(i / 2);
        moved.set(rows.subarray(row * embed, (row + 1) * embed), to * embed);
      }
      assign(halfSplit.parameters().get(name)!, moved);
    }
    const [a, b] = await readTensors([interleaved.logits(ids), halfSplit.logits(ids)]);
    assert.ok(a.some((value) => Math.abs(value) > 0.01));
    assert.ok(a.every((value, i) => Math.abs(value - b[i]) < 1e-6));
    [interleaved, halfSplit].forEach((model) => model.dispose());
  },
);

await onEachDevice(
  "LLaMA.nextLogits() gives the scores of logits(), with and without a cache",
  async (device) => {
    const model = sharp(device);
    using _scope = new Scope();
    const rows = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]];
    const ids = (rows: number[][]) => tensor(rows, { device, dtype: "i32" });
    const expected = model.logits(ids(rows));
    const at = (t: number) => reshape(slice(expected, [[0, 2], [t, t + 1]]), [2, 11]);
    using cache = model.createCache(2);
    for (let t = 2; t < 8; t++) {
      await assertTensorsClose(
        model.nextLogits(ids(rows.map((row) => row.slice(0, t + 1)))),
        at(t),
      );
      // Three tokens at once, then one by one.
      const fed = ids(rows.map((row) => t === 2 ? row.slice(0, 3) : row.slice(t, t + 1)));
      await assertTensorsClose(model.nextLogits(fed, { cache }), at(t));
    }
    assert.throws(() => model.nextLogits(ids([[1], [1]]), { cache }), /at most 8 positions/);
    model.dispose();
  },
);

await onEachDevice(
  "LLaMA.nextLogits() decodes prompts of unequal length on one cache",
  async (device) => {
    const model = sharp(device);
    using _scope = new Scope();
    const ids = (rows: number[][]) => tensor(rows, { device, dtype: "i32" });
    using cache = model.createCache(3);
    const prompts = ids([[3, 1, 4, 1, 5], [2, 0, 0, 0, 0], [6, 7, 8, 0, 0]]);
    const first = model.nextLogits(prompts, { cache, lengths: [5, 1, 3] });
    await assertTensorsClose(first, model.nextLogits(prompts, { lengths: [5, 1, 3] }));
    model.nextLogits(ids([[9], [10], [2]]), { cache });
    cache.select([2, 1, 0, 1]);
    const next = model.nextLogits(ids([[4], [5], [6], [7]]), { cache });
    const paths = [[6, 7, 8, 2, 4], [2, 10, 5], [3, 1, 4, 1, 5, 9, 6], [2, 10, 7]];
    const alone = paths.map((path) => model.nextLogits(ids([path])));
    await assertTensorsClose(next, concat(alone));
    model.dispose();
  },
);

await onEachDevice("LLaMA.loss() leaves nothing behind", async (device) => {
  const model = new LLaMA({ ...sizes, numKeyValueHeads: 2 }, { device });
  const step = () => {
    using _step = new Scope();
    const ids = tensor([[1, 2, 3], [4, 5, 6]], { device, dtype: "i32" });
    const targets = tensor([[2, 3, 4], [5, 6, 7]], { device, dtype: "i32" });
    model.loss(ids, targets).backward();
    zeroGrad(model.parameters());
  };
  step(); // the first one makes the table of rotations
  const before = device.memory().live;
  step();
  await device.synchronize();
  assert.ok(device.memory().live <= before, "something is left");
  model.dispose();
});

/** A model whose attention depends on where the tokens stand. */
function sharp(device: Device): LLaMA {
  const config = { ...sizes, numKeyValueHeads: 2, ropeTheta: 100 };
  const model = new LLaMA(config, { device, random: new RandomState(7) });
  for (const [name, parameter] of model.parameters()) {
    if (!/[qkv]_proj|embed/.test(name)) continue;
    assign(
      parameter,
      Float32Array.from({ length: parameter.size }, (_, i) => 0.5 * Math.sin(i * i)),
    );
  }
  return model;
}
