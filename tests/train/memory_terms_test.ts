// Every term of the memory formula, each by a model in which it counts.
import assert from "node:assert/strict";
import { CpuDevice, type Device, GPT2, RandomState, Scope, tensor } from "../../mod.ts";
import { AdamW, clipGradNorm, gpt2TrainingMemory, type TrainingSetup } from "../../mod.ts";
import { testDevices } from "../support/devices.ts";

const [device] = await testDevices();
const plain = CpuDevice.open({ threads: 1, simd: false });
/** Devices and their threads live as long as the process. */
const open = { sanitizeResources: false, sanitizeOps: false };

interface Case {
  readonly what: string;
  readonly numHiddenLayers: number;
  readonly hiddenSize: number;
  readonly numAttentionHeads: number;
  readonly maxPositionEmbeddings: number;
  readonly vocabSize: number;
  readonly batch: number;
  readonly context?: number;
}

const CASES: readonly Case[] = [
  {
    what: "figures of many heads",
    ...{
      numHiddenLayers: 3,
      hiddenSize: 32,
      numAttentionHeads: 16,
      maxPositionEmbeddings: 64,
      vocabSize: 64,
      batch: 8,
    },
  },
  {
    what: "activations of many blocks",
    ...{
      numHiddenLayers: 6,
      hiddenSize: 32,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 64,
      vocabSize: 64,
      batch: 8,
    },
  },
  {
    what: "weights and activations of one block",
    ...{
      numHiddenLayers: 1,
      hiddenSize: 64,
      numAttentionHeads: 1,
      maxPositionEmbeddings: 64,
      vocabSize: 32,
      batch: 1,
    },
  },
  {
    what: "weights",
    ...{
      numHiddenLayers: 1,
      hiddenSize: 192,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 16,
      vocabSize: 32,
      batch: 6,
    },
  },
  {
    what: "weights of many blocks",
    ...{
      numHiddenLayers: 8,
      hiddenSize: 96,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 8,
      vocabSize: 64,
      batch: 1,
    },
  },
  {
    what: "64 rows of logits",
    ...{
      numHiddenLayers: 1,
      hiddenSize: 8,
      numAttentionHeads: 1,
      maxPositionEmbeddings: 64,
      vocabSize: 300_000,
      batch: 2,
    },
  },
  {
    what: "64 MiB of logits",
    ...{
      numHiddenLayers: 1,
      hiddenSize: 8,
      numAttentionHeads: 1,
      maxPositionEmbeddings: 128,
      vocabSize: 32_768,
      batch: 8,
    },
  },
  {
    what: "sequences shorter than the context",
    ...{
      numHiddenLayers: 2,
      hiddenSize: 32,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 512,
      vocabSize: 64,
      batch: 8,
    },
    context: 64,
  },
];

/** Bytes of the model and its optimizer, and the most that two steps take on top of them. */
function measured(
  device: Device,
  { batch, what: _, context, ...config }: Case,
  { recompute, dtype }: Pick<TrainingSetup, "recompute" | "dtype">,
): { fixed: number; step: number; count: number } {
  const before = device.memory().live;
  const model = new GPT2(config, { device, dtype, random: new RandomState(1) });
  using optimizer = new AdamW(model.parameters());
  const fixed = device.memory().live - before;
  device.resetPeak();
  for (let step = 0; step < 2; step++) {
    using _scope = new Scope();
    const shape = [batch, context ?? config.maxPositionEmbeddings];
    const ids = tensor(new Int32Array(shape[0] * shape[1]), { shape, device });
    model.loss(ids, ids, { recompute }).backward();
    const { factor } = clipGradNorm(model.parameters(), 1);
    optimizer.step({ gradScale: factor });
    optimizer.zeroGrad();
  }
  const step = device.memory().peak - before - fixed;
  const count = model.parameterCount();
  model.dispose();
  return { fixed, step, count };
}

for (const one of CASES) {
  Deno.test(`gpt2TrainingMemory() counts ${one.what}`, open, () => {
    for (const recompute of [false, true]) {
      // f16 is slow on the CPU device, and the same terms at half the size.
      const half = !recompute && one.vocabSize < 1000 && device.dtypes.has("f16");
      for (const dtype of ["f32", ...half ? ["f16"] as const : []] as const) {
        const { batch, context } = one;
        const setup = { batch, context, recompute, dtype };
        const found = gpt2TrainingMemory(one, setup);
        // SIMD implementations compute f16 on f32 copies, which are not the formula's.
        const on = dtype === "f16" ? plain : device;
        const { fixed, step, count } = measured(on, one, setup);
        const which = `${dtype}${recompute ? ", recompute" : ""}`;
        assert.equal(found.parameters, count * (dtype === "f16" ? 6 : 4), which);
        assert.equal(found.moments, count * 8, which);
        assert.equal(found.total, found.parameters + found.moments + found.step, which);
        assert.ok(Math.abs(fixed / (found.parameters + found.moments) - 1) < 0.001, which);
        // With recompute the formula is an upper bound where a block's sizes are close to each other.
        const [low, high] = recompute ? [0.935, 1.03] : [0.99, 1.03];
        const ratio = step / found.step;
        assert.ok(ratio > low && ratio < high, `${which}: ${ratio} of the step's ${found.step}`);
      }
    }
  });
}

Deno.test("gpt2TrainingMemory() takes the context for the length where none is given", () => {
  const [config] = CASES;
  const { total } = gpt2TrainingMemory(config, { batch: 8 });
  assert.equal(gpt2TrainingMemory(config, { batch: 8, context: 64, dtype: "f32" }).total, total);
  assert.ok(gpt2TrainingMemory(config, { batch: 8, context: 32 }).total < 0.7 * total);
});
