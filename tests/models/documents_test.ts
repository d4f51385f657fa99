// Rows of several documents: each is computed as if it were alone.
import assert from "node:assert/strict";
import { rowsOf, type TuningExample } from "../../src/data/examples.ts";
import { RowLoader } from "../../src/data/row_loader.ts";
import type { Device } from "../../src/device/device.ts";
import type { CausalLM } from "../../src/models/causal_lm.ts";
import { Gemma3 } from "../../src/models/gemma3.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { Mistral } from "../../src/models/mistral.ts";
import { ModernGPT } from "../../src/models/modern_gpt.ts";
import { Phi3 } from "../../src/models/phi3.ts";
import { SmolLM3 } from "../../src/models/smollm3.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { batchTensors } from "../../src/train/evaluate.ts";
import { random } from "../kernels/case.ts";
import { onEachDevice } from "../support/devices.ts";

const VOCABULARY = 40, CONTEXT = 160;
const sizes = {
  ...{ vocabSize: VOCABULARY, maxPositionEmbeddings: CONTEXT, hiddenSize: 64 },
  ...{ numHiddenLayers: 2, numAttentionHeads: 4 },
};
const shared = { ...sizes, intermediateSize: 48, numKeyValueHeads: 2, headDim: 16 };

type Create = (options: { device: Device; random: RandomState }) => CausalLM;

/** A model whose parameters are all random, those that begin as 0 or 1, too. */
async function created(create: Create, device: Device): Promise<CausalLM> {
  const model = create({ device, random: new RandomState(3) });
  for (const x of model.parameters().values()) {
    const values = await x.data() as Float32Array;
    const noise = random(x.size, 0.1, x.shape[0]);
    assign(x, values.map((value, i) => value + noise[i]!));
  }
  return model;
}

/** Families of other attention, on GPUs only the first and the last, whose programs take long to compile. */
const families = ({ kind }: Device) => {
  const all = Object.entries(FAMILIES);
  return kind === "cpu" ? all : [all[0]!, all.at(-1)!];
};

const FAMILIES: Readonly<Record<string, Create>> = {
  "GPT-2": (options) => new GPT2(sizes, options),
  "ModernGPT": (options) => new ModernGPT({ ...sizes, valueEmbeddings: true }, options),
  "LLaMA": (options) => new LLaMA(shared, options),
  "Mistral with a window": (options) => new Mistral({ ...shared, slidingWindow: 11 }, options),
  "SmolLM 3": (options) =>
    new SmolLM3({ ...shared, tieWordEmbeddings: true, noRopeLayers: [1, 0] }, options),
  "Phi 3": (options) => new Phi3({ ...shared, partialRotaryFactor: 0.5 }, options),
  "Gemma 3": (options) =>
    new Gemma3({
      ...{ ...shared, slidingWindow: 13, finalLogitSoftcapping: 20 },
      layerTypes: ["sliding_attention", "full_attention"],
    }, options),
};

/** Examples of 2 to 100 tokens, the second half of each learned. */
function examplesOf(seed: number): TuningExample[] {
  return [100, 2, 61, 33, 47, 9, 17, 80, 5].map((length, n) => ({
    ids: Int32Array.from({ length }, (_, i) => (i * i * 7 + i * 3 + n * 11 + seed) % VOCABULARY),
    learned: Uint8Array.from({ length }, (_, i) => Number(2 * i >= length)),
  }));
}

/** The mean loss of rows over their learned tokens, and the gradients of all parameters. */
async function lossAndGrads(
  model: CausalLM,
  rows: readonly (readonly TuningExample[])[],
  options: { contextSize: number; pack: boolean },
): Promise<{ loss: number; grads: Map<string, Float32Array> }> {
  using _scope = new Scope();
  const loader = new RowLoader(rows, { ...options, batchSize: rows.length });
  const batch = await loader.next();
  const shape = [rows.length, options.contextSize] as const;
  const { ids, targets, positions } = batchTensors(batch, shape, model.device);
  const parameters = model.parameters();
  for (const x of parameters.values()) x.grad = null;
  const loss = model.loss(ids, targets, { positions });
  loss.backward();
  const grads = new Map<string, Float32Array>();
  for (const [name, x] of parameters) grads.set(name, await x.grad!.data() as Float32Array);
  return { loss: await loss.item(), grads };
}

/** The length of a - b, relative to that of b. */
function distance(a: Float32Array, b: Float64Array): number {
  let [apart, own] = [0, 0];
  a.forEach((value, i) => {
    apart += (value - b[i]!) ** 2;
    own += b[i]! ** 2;
  });
  return Math.sqrt(apart / own);
}

await onEachDevice(
  "a packed row has the loss and the gradients of its examples one by one",
  async (device) => {
    // Sums in f32 are in another order.
    const tolerance = device.kind === "cpu" ? 1e-6 : 2e-6;
    for (const [family, create] of families(device)) {
      using model = await created(create, device);
      const examples = examplesOf(1);
      const { rows } = rowsOf({ kind: "answers", examples }, { contextSize: CONTEXT, pack: true });
      assert.ok(rows.length <= 3 && rows.every((row) => row.length > 1));
      const packed = await lossAndGrads(model, rows, { contextSize: CONTEXT, pack: true });
      const countOf = (one: TuningExample) => one.learned.reduce((a, b) => a + b);
      const total = examples.reduce((sum, one) => sum + countOf(one), 0);
      let loss = 0;
      const grads = new Map<string, Float64Array>();
      for (const example of examples) {
        const alone = { contextSize: example.ids.length - 1, pack: false };
        const found = await lossAndGrads(model, [[example]], alone);
        const share = countOf(example) / total;
        loss += share * found.loss;
        for (const [name, grad] of found.grads) {
          const sum = grads.get(name) ?? new Float64Array(grad.length);
          grads.set(name, sum.map((value, i) => value + share * grad[i]!));
        }
      }
      const error = Math.abs(packed.loss / loss - 1);
      assert.ok(error < tolerance, `${family}: the loss is off by ${error}`);
      for (const [name, grad] of packed.grads) {
        const error = distance(grad, grads.get(name)!);
        assert.ok(error < tolerance, `${family}: the gradient of ${name} is off by ${error}`);
      }
    }
  },
);

await onEachDevice(
  "a document does not depend on its neighbours, to the last bit",
  async (device) => {
    for (const [family, create] of families(device)) {
      using model = await created(create, device);
      using _scope = new Scope();
      const lengths = [40, 30, 50], [start, end] = [40, 70];
      const positions = tensor(
        Int32Array.from(lengths.flatMap((length) => Array.from({ length }, (_, i) => i))),
        { device, shape: [1, 120] },
      );
      const states = async (factor: number) => {
        const ids = Int32Array.from({ length: 120 }, (_, i) => {
          const own = i >= start && i < end ? 7 : factor;
          return i * i * own % VOCABULARY;
        });
        const x = model.hidden(tensor(ids, { device, shape: [1, 120] }), { positions });
        return [...await x.data()].slice(64 * start, 64 * end);
      };
      const [one, other] = [await states(3), await states(5)];
      assert.deepEqual(one, other, family);
    }
  },
);

await onEachDevice("positions of documents are refused where they cannot be followed", (device) => {
  using _scope = new Scope();
  const options = { device, random: new RandomState(3) };
  const ids = tensor([[1, 2, 3, 4]], { device, dtype: "i32" });
  const positions = tensor([[0, 1, 0, 1]], { device, dtype: "i32" });
  using sparse = new GPT3(sizes, options);
  assert.throws(
    () => noGrad(() => sparse.logits(ids, { positions })),
    /TypeError: sparseAttention: expected positions \[1\] of i32 but got/,
  );
  using model = new GPT2(sizes, options);
  using cache = model.createCache(1);
  assert.throws(
    () => noGrad(() => model.logits(ids, { positions, cache })),
    /TypeError: GPT2: expected positions without a cache/,
  );
});
