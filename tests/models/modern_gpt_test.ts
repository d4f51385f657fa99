import assert from "node:assert/strict";
import type { Device } from "../../src/device/device.ts";
import { generate } from "../../src/decode/generate.ts";
import { ModernGPT, type ModernGPTConfig } from "../../src/models/modern_gpt.ts";
import { clipGradNorm } from "../../src/optim/clip_grad_norm.ts";
import { Muon } from "../../src/optim/muon.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors, type Tensor } from "../../src/tensor/tensor.ts";
import { assertClose, assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { inFolder } from "../support/examples.ts";

const SIZES = {
  vocabSize: 11,
  maxPositionEmbeddings: 8,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
};
/** What is off by default, too. */
const WHOLE = { ...SIZES, valueEmbeddings: true, finalLogitSoftcapping: 3 };
const IDS = [[1, 5, 3, 10, 0, 7], [2, 2, 9, 4, 8, 6]];
const TARGETS = [[5, 3, 10, 0, 7, 1], [2, 9, 4, 8, 6, 2]];

/** Numbers that look random and repeat. */
function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from(
    { length: count },
    (_, i) => 0.5 * Math.fround(Math.sin(i * i * 0.7 + i * 12.9898 + seed * 78.233)),
  );
}

function batch(device: Device): { ids: Tensor; targets: Tensor } {
  return {
    ids: tensor(IDS, { device, dtype: "i32" }),
    targets: tensor(TARGETS, { device, dtype: "i32" }),
  };
}

/** A model whose parameters are all of one size, so that nothing is 0. */
function filled(config: ModernGPTConfig, device: Device): ModernGPT {
  const model = new ModernGPT(config, { device, random: null });
  const order = [...model.parameters().keys()];
  order.forEach((name, i) => {
    const parameter = model.parameters().get(name)!;
    assign(parameter, numbers(parameter.size, i + 1));
  });
  return model;
}

/**
 * Of each parameter the norm of its gradient, and the gradient's elements 8, 17 and 40: the same model in float64, written
 * from the doc comments with PyTorch's tensors and autograd.
 */
// deno-fmt-ignore
const PYTORCH = {
  loss: 2.4413884852435306,
  logits: [-0.472686, -0.866123, 1.106961, -0.71582, -0.409498, 0.135216, -1.048041, 0.653606, 0.446549, 0.482938, 0.482316],
  gradients: {
    "wte.weight": [1.410638, 0.144344, -0.299507, 0.069852],
    "h.0.attn.c_q.weight": [0.271541, -0.056563, 0.003866, 0.049071],
    "h.0.attn.c_k.weight": [0.249639, -0.076916, -0.007195, 0.004282],
    "h.0.attn.c_v.weight": [1.068549, 0.023288, -0.118899, -0.055911],
    "h.0.attn.c_proj.weight": [0.924289, -0.013239, -0.062729, -0.032611],
    "h.0.mlp.c_fc.weight": [0.971917, -0.016430, -0.018880, -0.032480],
    "h.0.mlp.c_proj.weight": [0.946983, 0.008197, -0.325994, 0.003165],
    "h.1.attn.c_q.weight": [0.083119, 0.000024, -0.008808, 0.004589],
    "h.1.attn.c_k.weight": [0.098994, -0.004230, 0.003475, -0.005326],
    "h.1.attn.c_v.weight": [0.310505, -0.040274, 0.027434, -0.015912],
    "h.1.attn.c_proj.weight": [0.359416, 0.049073, 0.046210, 0.027980],
    "h.1.attn.value_embed.weight": [0.256320, -0.070667, -0.058181, -0.008811],
    "h.1.mlp.c_fc.weight": [0.638507, -0.005456, 0.023444, -0.029459],
    "h.1.mlp.c_proj.weight": [0.524880, -0.000014, -0.036793, -0.000437],
    "lm_head.weight": [0.730045, 0.105557, -0.005245, -0.054229],
  },
};

await onEachDevice("ModernGPT has PyTorch's loss, logits and gradients", async (device) => {
  using _scope = new Scope();
  const model = filled(WHOLE, device);
  assert.deepEqual([...model.parameters().keys()], Object.keys(PYTORCH.gradients));
  const { ids, targets } = batch(device);
  const logits = await noGrad(() => model.logits(ids)).data();
  assertClose(logits.slice(-11), PYTORCH.logits, 5e-6, "logits");
  for (const recompute of [false, true]) {
    const loss = model.loss(ids, targets, { recompute });
    loss.backward();
    assertClose([await loss.item()], [PYTORCH.loss], 2e-6, "loss");
    for (const [name, [norm, ...elements]] of Object.entries(PYTORCH.gradients)) {
      const { grad } = model.parameters().get(name)!;
      const values = await grad!.data();
      assertClose([Math.hypot(...values)], [norm], 2e-5, `norm of ${name}`);
      assertClose([8, 17, 40].map((i) => values[i]), elements, 2e-6, name, 1);
      grad!.dispose();
      model.parameters().get(name)!.grad = null;
    }
  }
  model.dispose();
});

await onEachDevice("ModernGPT starts as the embedding's guess, and learns", async (device) => {
  const model = new ModernGPT(SIZES, { device, random: new RandomState(3) });
  const { ids, targets } = batch(device);
  const states = noGrad(() => model.hiddenStates(ids));
  const [first, , last] = await readTensors(states);
  assertSame(last, first); // no block adds anything yet
  states.forEach((state) => state.dispose());
  using optimizer = new Muon(model.parameters(), { lr: 0.05 });
  let value = 0;
  for (let step = 0; step < 60; step++) {
    using _step = new Scope();
    const loss = model.loss(ids, targets);
    loss.backward();
    optimizer.step({ gradScale: clipGradNorm(model.parameters(), 1).factor });
    optimizer.zeroGrad();
    value = await loss.item();
    if (step === 0) assert.ok(Math.abs(value - Math.log(11)) < 0.01, `it starts at ${value}`);
  }
  assert.ok(value < 1, `it ends at ${value}`);
  [ids, targets].forEach((tensor) => tensor.dispose());
  model.dispose();
});

for (const lengths of [[60, 60], [60, 3]]) {
  const what = lengths[0] === lengths[1] ? "rows" : "rows of unequal length";
  await onEachDevice(`cached logits of ModernGPT equal uncached ones, ${what}`, async (device) => {
    using _scope = new Scope();
    const { vocabSize } = WHOLE;
    const model = filled({ ...WHOLE, maxPositionEmbeddings: 80 }, device);
    const rows = [1, 2].map((seed) =>
      Array.from({ length: 70 }, (_, i) => (i * i * 7 + i * 3 + seed * 5) % vocabSize)
    );
    const whole = noGrad(() => model.logits(tensor(rows, { device, dtype: "i32" })));
    // The prompts at once, then one token a row: the cache grows at 64.
    using cache = model.createCache(2);
    const prompts = tensor(rows.map((row) => row.slice(0, 60)), { device, dtype: "i32" });
    const cached = [model.nextLogits(prompts, { cache, lengths })];
    for (let step = 0; step < 10; step++) {
      const next = rows.map((row, b) => [row[lengths[b] + step]]);
      cached.push(model.nextLogits(tensor(next, { device, dtype: "i32" }), { cache }));
    }
    const [all, ...found] = await readTensors([whole, ...cached]);
    found.forEach((logits, step) =>
      lengths.forEach((length, b) => {
        const at = (b * 70 + length + step - 1) * vocabSize;
        const row = logits.slice(b * vocabSize, (b + 1) * vocabSize);
        assertClose(row, all.slice(at, at + vocabSize), 2e-5, `row ${b}, step ${step}`);
      })
    );
    model.dispose();
  });
}

const SWITCHED: Record<string, Partial<ModernGPTConfig>> = {
  "as it is": {},
  "every part the other way": {
    ropeTheta: null,
    qkNorm: false,
    hiddenAct: "gelu_pytorch_tanh",
    finalLogitSoftcapping: null,
    tieWordEmbeddings: true,
    valueEmbeddings: true,
    intermediateSize: 20,
    rmsNormEps: 1e-5,
  },
};

for (const [what, parts] of Object.entries(SWITCHED)) {
  await onEachDevice(
    `saveModel() and loadModel() keep a ModernGPT, ${what}`,
    (device) =>
      inFolder(async (folder) => {
        using _scope = new Scope();
        const model = filled({ ...SIZES, ...parts }, device);
        await saveModel(folder, model);
        const loaded = await loadModel(folder, { device });
        assert.ok(loaded instanceof ModernGPT);
        assert.deepEqual(loaded.config, model.config);
        const { ids } = batch(device);
        const logits = await readTensors(
          [model, loaded].map((one) => noGrad(() => one.logits(ids))),
        );
        assertSame(logits[1], logits[0]);
        const [one] = await generate(loaded, [[1, 2]], { length: 4, temperature: 0 });
        assert.equal(one.ids.length, 4);
        model.dispose();
        loaded.dispose();
      }),
  );
}

await onEachDevice("a switched ModernGPT computes something else", async (device) => {
  using _scope = new Scope();
  const { ids } = batch(device);
  const plain = filled(SIZES, device);
  const expected = await noGrad(() => plain.logits(ids)).data();
  for (const [name, value] of Object.entries(SWITCHED["every part the other way"])) {
    if (["rmsNormEps", "intermediateSize"].includes(name)) continue;
    const other = filled({ ...SIZES, [name]: value }, device);
    const logits = await noGrad(() => other.logits(ids)).data();
    const largest = Math.max(...logits.map((x, i) => Math.abs(x - expected[i])));
    assert.ok(largest > 1e-4, `${name} changes ${largest}`);
  }
  const odd = { ...SIZES, numAttentionHeads: 8 };
  assert.throws(() => new ModernGPT(odd, { device }), /into even sizes but got 8 and 8/);
});
