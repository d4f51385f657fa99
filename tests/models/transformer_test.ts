import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { Transformer, type TransformerConfig } from "../../src/models/transformer.ts";
import { crossEntropy } from "../../src/ops/loss.ts";
import { reshape, slice } from "../../src/ops/shape.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { assertTensorsClose } from "../support/compare.ts";
import { onEachDevice, testDevices } from "../support/devices.ts";

const [cpu] = await testDevices();
const sizes = {
  ...{ sourceVocabSize: 13, targetVocabSize: 11, hiddenSize: 16, intermediateSize: 24 },
  ...{ numHiddenLayers: 2, numAttentionHeads: 4, maxPositionEmbeddings: 8 },
};

function open(device: Device, config: Partial<TransformerConfig> = {}): Transformer {
  return new Transformer({ ...sizes, ...config }, { device, random: new RandomState(3) });
}

function ids(device: Device, rows: number[][]): Tensor {
  return tensor(rows, { device, dtype: "i32" });
}

/** A source with padding, and targets of the same number of sentences. */
function sentences(device: Device): { source: Tensor; inputs: Tensor; targets: Tensor } {
  return {
    source: ids(device, [[5, 6, 7, 3], [8, 3, 0, 0]]),
    inputs: ids(device, [[2, 4, 5, 6, 9], [2, 7, 3, 0, 0]]),
    targets: ids(device, [[4, 5, 6, 9, 3], [7, 3, 0, 0, 0]]),
  };
}

async function assertDifferent(a: Tensor, b: Tensor): Promise<void> {
  const [x, y] = await readTensors([a, b]);
  assert.ok(Array.from(x).some((value, i) => Math.abs(value - y[i]) > 1e-2), "they do not differ");
}

await onEachDevice("Transformer does not see padding", async (device) => {
  const model = open(device);
  using _scope = new Scope();
  const { inputs } = sentences(device);
  const short = model.logits(ids(device, [[5, 6, 3], [8, 9, 3]]), inputs);
  const long = model.logits(ids(device, [[5, 6, 3, 0, 0], [8, 9, 3, 0, 0]]), inputs);
  await assertTensorsClose(short, long);
  const other = model.logits(ids(device, [[5, 6, 3, 4, 4], [8, 9, 3, 4, 4]]), inputs);
  await assertDifferent(short, other);
  model.dispose();
});

await onEachDevice("Transformer.loss() leaves out targets that pad", async (device) => {
  const model = open(device);
  using _scope = new Scope();
  const { source, inputs, targets } = sentences(device);
  for (const labelSmoothing of [0, 0.1]) {
    const logits = model.logits(source, inputs);
    const expected = crossEntropy(logits, targets, { ignoreIndex: 0, labelSmoothing });
    await assertTensorsClose(model.loss(source, inputs, targets, { labelSmoothing }), expected);
  }
  model.dispose();
});

await onEachDevice(
  "Transformer with post-norm ends in the norm of its last layer",
  async (device) => {
    const model = open(device, { norm: "post", activationFunction: "relu", dropout: 0.2 });
    using _scope = new Scope();
    const { source, inputs, targets } = sentences(device);
    assert.ok(![...model.parameters().keys()].some((name) => name.includes("final_norm")));
    const { states } = model.encode(source);
    const values = await states.data() as Float32Array;
    for (let row = 0; row < values.length; row += 16) {
      const one = values.subarray(row, row + 16);
      const mean = one.reduce((a, b) => a + b) / 16;
      const variance = one.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 16;
      assert.ok(Math.abs(mean) < 1e-5 && Math.abs(variance - 1) < 1e-3, `${mean} ${variance}`);
    }
    model.loss(source, inputs, targets, { dropout: new RandomState(1) }).backward();
    for (const [name, { grad }] of model.parameters()) assert.ok(grad, name);
    model.dispose();
  },
);

await onEachDevice(
  "Transformer with tied output reads and writes with one matrix",
  async (device) => {
    const [tied, untied] = [open(device, { tieWordEmbeddings: true }), open(device)];
    assert.equal(untied.parameterCount() - tied.parameterCount(), 11 * 16);
    using _scope = new Scope();
    const { source, inputs, targets } = sentences(device);
    // The states before any layer are sqrt(E) times the embedding, plus the positions that all models share.
    const [tiedState, untiedState] = [tied, untied].map((model) => model.encoderStates(source)[0]);
    const embeddings = [tied, untied].map((m) => m.parameters().get("encoder.embed.weight")!);
    const [a, b, c, d] = await readTensors([tiedState, untiedState, ...embeddings]);
    for (let i = 0; i < 16; i++) {
      assert.ok(Math.abs(a[i] - 4 * c[5 * 16 + i] - (b[i] - d[5 * 16 + i])) < 1e-5);
    }
    tied.loss(source, inputs, targets).backward();
    assert.ok(tied.parameters().get("decoder.embed.weight")!.grad);
    [tied, untied].forEach((model) => model.dispose());
  },
);

await onEachDevice(
  "Transformer drops activations and weights of attention only with random numbers",
  async (device) => {
    for (
      const probabilities of [{ dropout: 0.5, attentionDropout: 0 }, { attentionDropout: 0.5 }]
    ) {
      const [dropping, plain] = [open(device, probabilities), open(device)];
      using _scope = new Scope();
      const { source, inputs } = sentences(device);
      await assertTensorsClose(dropping.logits(source, inputs), plain.logits(source, inputs), 0);
      const dropped = dropping.logits(source, inputs, { dropout: new RandomState(1) });
      await assertDifferent(dropped, plain.logits(source, inputs));
      [dropping, plain].forEach((model) => model.dispose());
    }
    assert.equal(open(device, { dropout: 0.5 }).config.attentionDropout, 0.5);
  },
);

await onEachDevice("Transformer.logits() shows the weights of every attention", async (device) => {
  const model = open(device);
  using _scope = new Scope();
  const { source, inputs } = sentences(device);
  const seen = new Map<string, Tensor>();
  model.logits(source, inputs, { observe: (weights, name) => seen.set(name, weights.keep()) });
  const shapes = {
    "encoder.layers.0.self_attn": [2, 4, 4, 4],
    "encoder.layers.1.self_attn": [2, 4, 4, 4],
    "decoder.layers.0.self_attn": [2, 4, 5, 5],
    "decoder.layers.0.cross_attn": [2, 4, 5, 4],
    "decoder.layers.1.self_attn": [2, 4, 5, 5],
    "decoder.layers.1.cross_attn": [2, 4, 5, 4],
  };
  assert.deepEqual(Object.fromEntries([...seen].map(([name, { shape }]) => [name, shape])), shapes);
  const cross = await seen.get("decoder.layers.1.cross_attn")!.data() as Float32Array;
  // The second source sentence has two tokens.
  const row = cross.subarray(4 * 5 * 4, 4 * 5 * 4 + 4);
  assert.ok(row[0] > 0 && row[1] > 0);
  assert.deepEqual([row[2], row[3]], [0, 0]);
  seen.forEach((weights) => weights.dispose());
  model.dispose();
});

await onEachDevice(
  "Translator gives the scores of Transformer.logits(), with and without a cache",
  async (device) => {
    const model = open(device);
    using _scope = new Scope();
    const { source } = sentences(device);
    const rows = [[2, 4, 5, 6, 9], [2, 7, 8, 3, 10]];
    const expected = model.logits(source, ids(device, rows));
    const at = (t: number) => slice(expected, [[0, 2], [t, t + 1]]);
    using translator = model.translator(source);
    using cache = translator.createCache();
    for (let t = 0; t < 5; t++) {
      const whole = translator.nextLogits(ids(device, rows.map((row) => row.slice(0, t + 1))));
      await assertTensorsClose(reshape(whole, [2, 1, 11]), at(t));
      // The first two tokens at once, then one by one.
      if (t === 0) continue;
      const fed = rows.map((row) => t === 1 ? row.slice(0, 2) : row.slice(t, t + 1));
      const next = translator.nextLogits(ids(device, fed), { cache });
      await assertTensorsClose(reshape(next, [2, 1, 11]), at(t));
    }
    model.dispose();
  },
);

await onEachDevice("Translator decodes prompts of unequal length on one cache", async (device) => {
  const model = open(device);
  using _scope = new Scope();
  const { source } = sentences(device);
  using translator = model.translator(source);
  using cache = translator.createCache();
  const prompts = ids(device, [[2, 4, 5], [2, 0, 0]]);
  translator.nextLogits(prompts, { cache, lengths: [3, 1] });
  const next = translator.nextLogits(ids(device, [[6], [7]]), { cache });
  const expected = translator.nextLogits(ids(device, [[2, 4, 5, 6], [2, 7, 0, 0]]), {
    lengths: [4, 2],
  });
  await assertTensorsClose(next, expected);
  model.dispose();
});

await onEachDevice("Translator follows the rows that a beam search selects", async (device) => {
  const model = open(device);
  using _scope = new Scope();
  const { source } = sentences(device);
  using translator = model.translator(source);
  using cache = translator.createCache();
  translator.nextLogits(ids(device, [[2], [2]]), { cache });
  cache.select([0, 0, 1, 1]);
  translator.nextLogits(ids(device, [[4], [5], [6], [7]]), { cache });
  cache.select([1, 0, 3, 3]);
  const next = translator.nextLogits(ids(device, [[8], [9], [8], [10]]), { cache });
  const repeated = ids(device, [[5, 6, 7, 3], [5, 6, 7, 3], [8, 3, 0, 0], [8, 3, 0, 0]]);
  using wide = model.translator(repeated);
  const paths = ids(device, [[2, 5, 8], [2, 4, 9], [2, 7, 8], [2, 7, 10]]);
  await assertTensorsClose(next, wide.nextLogits(paths));
  model.dispose();
});

await onEachDevice("Translator and its caches free what they held", async (device) => {
  const model = open(device);
  using _scope = new Scope();
  const { source } = sentences(device);
  const start = ids(device, [[2], [2]]);
  const before = device.memory().live;
  for (let i = 0; i < 2; i++) {
    using _step = new Scope();
    using translator = model.translator(source);
    using cache = translator.createCache();
    translator.nextLogits(start, { cache });
    cache.select([0, 1, 1]);
  }
  await device.synchronize();
  assert.ok(device.memory().live <= before, "something is left");
  model.dispose();
});

Deno.test("Transformer() throws for sizes that do not fit", () => {
  assert.throws(
    () => open(cpu, { numAttentionHeads: 3 }),
    RangeError("Transformer: expected numAttentionHeads to divide hiddenSize but got 3 and 16"),
  );
  assert.throws(
    () => open(cpu, { hiddenSize: 5, numAttentionHeads: 5 }),
    RangeError("Transformer: expected an even hiddenSize but got 5"),
  );
});

Deno.test("Transformer throws for sentences that do not fit", () => {
  const model = open(cpu);
  using _scope = new Scope();
  const { source, inputs, targets } = sentences(cpu);
  const [row] = [ids(cpu, [[2, 4]])];
  const long = ids(cpu, [[1, 1, 1, 1, 1, 1, 1, 1, 1]]);
  assert.throws(() => model.logits(long, row), {
    name: "RangeError",
    message:
      "Transformer source: expected sequences of at most 8 tokens but got ids of shape [1, 9]",
  });
  assert.throws(() => model.logits(source, long), { name: "RangeError", message: /target/ });
  assert.throws(() => model.logits(source, tensor([2, 4], { device: cpu, dtype: "i32" })), {
    name: "TypeError",
    message: "Transformer target: expected ids of shape [B, T] but got [2]",
  });
  assert.throws(() => model.logits(source, row), {
    name: "TypeError",
    message: "Transformer: expected ids of shape [2, T] for 2 source sentences but got [1, 2]",
  });
  assert.throws(() => model.loss(source, inputs, source), {
    name: "TypeError",
    message: "Transformer: expected targets of the inputs' shape [2, 5] but got [2, 4]",
  });
  model.loss(source, inputs, targets);
  using translator = model.translator(source);
  assert.throws(() => translator.createCache(3), {
    name: "RangeError",
    message: "Translator: expected a cache of 2 rows, one a source sentence, but got 3; " +
      "KeyValueCache.select() makes more",
  });
  model.dispose();
});
