/**
 * Proof: each family of models gives llama.cpp's greedy tokens, 64 after a prompt of 16, in f32 on the CPU and on WebGPU. A small
 * model with random weights is saved as GGUF for llama.cpp, and in Hugging Face's layout, from which it is loaded on each
 * device; with it goes a small tokenizer of the family, which gives llama.cpp's ids. `deno task proof:families [NAME ...]`; two minutes. Exits with 1 where something does not hold.
 *
 * llama.cpp computes sliding windows of Gemma alone; those of the others are held by tests/models/families_test.ts.
 */
import { join } from "node:path";
import {
  CpuDevice,
  type Decoder,
  Gemma3,
  generate,
  LLaMA,
  loadModel,
  loadTokenizer,
  Mistral,
  openDevice,
  Phi3,
  type PretrainedTokenizer,
  Qwen2,
  Qwen3,
  randn,
  RandomState,
  saveGguf,
  saveModel,
  SmolLM3,
  tokenizerFromJson,
} from "../../mod.ts";
import { assign } from "../../src/tensor/create.ts";
import golden from "../../tests/tokenizer/families.json" with { type: "json" };
import { askLlamaCpp, installLlamaCpp } from "./llama_cpp.ts";

const LENGTH = 64;
const PROMPT = Array.from({ length: 16 }, (_, i) => 20 + i * 7);

const cpu = CpuDevice.open({ threads: 1 });
const gpu = await openDevice({ kind: "webgpu" });
const TEXTS = golden.texts.filter((text) => !text.includes("<|"));
const sizes = {
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
  betaFast: 32,
  betaSlow: 1,
  originalContextSize: 32,
} as const;
const linear = { type: "linear", factor: 8 } as const;

type Create = (vocabSize: number) => Decoder;
const MODELS: Readonly<Record<string, [tokenizer: keyof typeof golden.tokenizers, Create]>> = {
  "LLaMA 3.2": ["SmolLM 3 and LLaMA 3", (vocabSize) =>
    new LLaMA({
      ...{ ...sizes, vocabSize, ropeTheta: 500_000, ropeScaling: llama3, headDim: 24 },
      tieWordEmbeddings: true,
    }, options)],
  "SmolLM 2": [
    "SmolLM 2",
    (vocabSize) =>
      new LLaMA({ ...sizes, vocabSize, ropeTheta: 100_000, tieWordEmbeddings: true }, options),
  ],
  "SmolLM 3": [
    "SmolLM 3 and LLaMA 3",
    (vocabSize) =>
      new SmolLM3({ ...sizes, vocabSize, ropeTheta: 5_000_000, tieWordEmbeddings: true }, options),
  ],
  "Qwen 2.5": [
    "Qwen 2.5 and 3",
    (vocabSize) =>
      new Qwen2({ ...sizes, vocabSize, ropeTheta: 1_000_000, rmsNormEps: 1e-6 }, options),
  ],
  "Qwen 2.5, YaRN": [
    "Qwen 2.5 and 3",
    (vocabSize) => new Qwen2({ ...sizes, vocabSize, ropeScaling: yarn }, options),
  ],
  "Qwen 3": ["Qwen 2.5 and 3", (vocabSize) =>
    new Qwen3({
      ...{ ...sizes, vocabSize, headDim: 32, ropeTheta: 1_000_000, tieWordEmbeddings: true },
    }, options)],
  "Mistral 7B": ["Mistral 7B v0.3", (vocabSize) => new Mistral({ ...sizes, vocabSize }, options)],
  "Mistral Nemo": [
    "Mistral's Tekken",
    (vocabSize) => new Mistral({ ...sizes, vocabSize, headDim: 32, ropeTheta: 1_000_000 }, options),
  ],
  "Phi 3": ["Phi 3", (vocabSize) => new Phi3({ ...sizes, vocabSize }, options)],
  "Phi 4": [
    "Phi 4",
    (vocabSize) =>
      new Phi3(
        { ...sizes, vocabSize, partialRotaryFactor: 0.75, tieWordEmbeddings: true },
        options,
      ),
  ],
  "Gemma 3": ["Gemma 3", (vocabSize) =>
    new Gemma3({
      ...{ ...sizes, vocabSize, numHiddenLayers: 7, headDim: 32, slidingWindow: 20 },
    }, options)],
  "Gemma 3, linear": ["Gemma 3", (vocabSize) =>
    new Gemma3({
      ...{ ...sizes, vocabSize, numHiddenLayers: 6, slidingWindow: 9, ropeScaling: linear },
    }, options)],
};

const folder = await Deno.makeTempDir({ prefix: "dinograd" });
let failures = 0;
try {
  await installLlamaCpp();
  for (const [name, [tokenizer, create]] of Object.entries(MODELS)) {
    if (Deno.args.length > 0 && !Deno.args.includes(name)) continue;
    await check(name, tokenizerFromJson(golden.tokenizers[tokenizer].file), create);
  }
} finally {
  await Deno.remove(folder, { recursive: true });
  for (const device of [cpu, gpu]) device.close();
}
console.log(failures ? `${failures} do not hold` : "all hold");
Deno.exit(failures ? 1 : 0);

function report(holds: boolean, what: string): void {
  console.log(`${holds ? "holds" : "FAILS"}: ${what}`);
  if (!holds) failures++;
}

async function check(name: string, tokenizer: PretrainedTokenizer, create: Create): Promise<void> {
  using model = create(tokenizer.vocabSize);
  await randomise(model);
  const path = join(folder, "model.gguf");
  await saveGguf(path, model as LLaMA, { tokenizer });
  await saveModel(folder, model as LLaMA);
  const request = { model: path, ids: PROMPT, length: LENGTH, texts: TEXTS };
  const { ids: expected, texts } = await askLlamaCpp(request);
  const different = new Set(expected).size;
  for (const [from, device] of [[folder, cpu], [folder, gpu], [path, cpu]] as const) {
    using loaded = await loadModel(from, { device });
    const [found] = await generate(loaded, [PROMPT], { length: LENGTH, temperature: 0 });
    const wrong = expected.findIndex((id, i) => id !== found!.ids[i]);
    // A model that repeats itself would show nothing.
    const holds = wrong < 0 && expected.length === LENGTH && different >= 10;
    const what = `${name}${from === path ? " from GGUF" : ""} on ${device.kind}`;
    const how = wrong < 0 ? "" : `, the ${wrong}th is ${found!.ids[wrong]}, not ${expected[wrong]}`;
    report(holds, `${what}: ${LENGTH} greedy tokens, ${different} different ones${how}`);
  }
  const own = await loadTokenizer(path);
  const wrong = TEXTS.findIndex((text, i) => `${own.encode(text)}` !== `${texts[i]}`);
  const how = wrong < 0
    ? ""
    : `: ${JSON.stringify(TEXTS[wrong])} is ${own.encode(TEXTS[wrong]!)}, not ${texts[wrong]}`;
  report(wrong < 0, `${name}: the ids of ${TEXTS.length} texts${how}`);
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
