/**
 * Proof: each family of models gives llama.cpp's greedy tokens, 64 after a prompt of 16, in f32 on the CPU and on WebGPU. A small
 * model with random weights is saved as GGUF for llama.cpp, and in Hugging Face's layout, from which it is loaded on each
 * device. `deno task proof:families [NAME ...]`; two minutes. Exits with 1 where something does not hold.
 *
 * llama.cpp computes sliding windows of Gemma alone; those of the others are held by tests/models/families_test.ts.
 */
import { join } from "node:path";
import {
  BytePairTokenizer,
  CpuDevice,
  type Decoder,
  Gemma3,
  generate,
  LLaMA,
  loadModel,
  Mistral,
  openDevice,
  Phi3,
  Qwen2,
  Qwen3,
  randn,
  RandomState,
  saveGguf,
  saveModel,
  SmolLM3,
} from "../../mod.ts";
import { assign } from "../../src/tensor/create.ts";
import { askLlamaCpp, installLlamaCpp } from "./llama_cpp.ts";

const LENGTH = 64;
const PROMPT = Array.from({ length: 16 }, (_, i) => 20 + i * 7);

const cpu = CpuDevice.open({ threads: 1 });
const gpu = await openDevice({ kind: "webgpu" });
const tokenizer = BytePairTokenizer.train("low lower lowest, slow", { merges: 10 });
const sizes = {
  vocabSize: tokenizer.vocabSize,
  maxPositionEmbeddings: 128,
  hiddenSize: 64,
  intermediateSize: 96,
  numHiddenLayers: 4,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
};
const options = { device: cpu, random: null };
const llama3 = {
  type: "llama3",
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalContextSize: 8192,
} as const;
const yarn = {
  type: "yarn",
  factor: 4,
  attentionFactor: 0.1 * Math.log(4) + 1,
  betaFast: 32,
  betaSlow: 1,
  originalContextSize: 32,
} as const;
const linear = { type: "linear", factor: 8 } as const;

const MODELS: Readonly<Record<string, () => Decoder>> = {
  "LLaMA 3.2": () =>
    new LLaMA({
      ...{
        ...sizes,
        ropeTheta: 500_000,
        ropeScaling: llama3,
        tieWordEmbeddings: true,
        headDim: 24,
      },
    }, options),
  "SmolLM 2": () => new LLaMA({ ...sizes, ropeTheta: 100_000, tieWordEmbeddings: true }, options),
  "SmolLM 3": () =>
    new SmolLM3({ ...sizes, ropeTheta: 5_000_000, tieWordEmbeddings: true }, options),
  "Qwen 2.5": () => new Qwen2({ ...sizes, ropeTheta: 1_000_000, rmsNormEps: 1e-6 }, options),
  "Qwen 2.5, YaRN": () => new Qwen2({ ...sizes, ropeScaling: yarn }, options),
  "Qwen 3": () =>
    new Qwen3({ ...sizes, headDim: 32, ropeTheta: 1_000_000, tieWordEmbeddings: true }, options),
  "Mistral": () => new Mistral({ ...sizes, headDim: 32, ropeTheta: 1_000_000 }, options),
  "Phi 3": () => new Phi3(sizes, options),
  "Phi 4, partly turned": () =>
    new Phi3({ ...sizes, partialRotaryFactor: 0.75, tieWordEmbeddings: true }, options),
  "Gemma 3": () =>
    new Gemma3({ ...sizes, numHiddenLayers: 7, headDim: 32, slidingWindow: 20 }, options),
  "Gemma 3, linear": () =>
    new Gemma3({
      ...{ ...sizes, numHiddenLayers: 6, slidingWindow: 9, ropeScaling: linear },
    }, options),
};

const folder = await Deno.makeTempDir({ prefix: "dinograd" });
let failures = 0;
try {
  await installLlamaCpp();
  for (const [name, create] of Object.entries(MODELS)) {
    if (Deno.args.length === 0 || Deno.args.includes(name)) await check(name, create);
  }
} finally {
  await Deno.remove(folder, { recursive: true });
  for (const device of [cpu, gpu]) device.close();
}
console.log(failures ? `${failures} do not hold` : "all hold");
Deno.exit(failures ? 1 : 0);

async function check(name: string, create: () => Decoder): Promise<void> {
  using model = create();
  await randomise(model);
  const path = join(folder, "model.gguf");
  await saveGguf(path, model as LLaMA, { tokenizer });
  await saveModel(folder, model as LLaMA);
  const { ids: expected } = await askLlamaCpp({ model: path, ids: PROMPT, length: LENGTH });
  const different = new Set(expected).size;
  for (const [from, device] of [[folder, cpu], [folder, gpu], [path, cpu]] as const) {
    using loaded = await loadModel(from, { device });
    const [found] = await generate(loaded, [PROMPT], { length: LENGTH, temperature: 0 });
    const wrong = expected.findIndex((id, i) => id !== found!.ids[i]);
    // A model that repeats itself would show nothing.
    const holds = wrong < 0 && expected.length === LENGTH && different >= 10;
    if (!holds) failures++;
    const what = `${name}${from === path ? " from GGUF" : ""} on ${device.kind}`;
    console.log(
      holds
        ? `holds: ${what}: ${LENGTH} greedy tokens, ${different} different ones`
        : `FAILS: ${what}: token ${wrong} is ${found!.ids[wrong]}, not ${
          expected[wrong]
        }; ${different} different ones`,
    );
  }
}

/** Weights that make every part of the model count: no norm is 1, no bias 0, attention is sharp. */
async function randomise(model: Decoder): Promise<void> {
  const random = new RandomState(11);
  for (const [name, parameter] of model.parameters()) {
    const isVector = parameter.shape.length === 1;
    const mean = name.endsWith("norm.weight") ? 1 : 0; // with Gemma's own 1 it is 2
    const std = isVector
      ? 0.2
      : name.includes("embed")
      ? 0.15
      : 1.5 / Math.sqrt(parameter.shape[1]!);
    using values = randn(parameter.shape, { device: cpu, random, std, mean });
    assign(parameter, await values.data());
  }
}
