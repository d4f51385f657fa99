// A model is saved with its configuration, and what does not fit is refused with a word about it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { SafetensorsFile, writeSafetensors } from "../../src/io/safetensors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { Gemma3 } from "../../src/models/gemma3.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { Mistral } from "../../src/models/mistral.ts";
import { Phi3 } from "../../src/models/phi3.ts";
import { Qwen2, Qwen3 } from "../../src/models/qwen.ts";
import { SmolLM3 } from "../../src/models/smollm3.ts";
import { ModernGPT } from "../../src/models/modern_gpt.ts";
import { Transformer } from "../../src/models/transformer.ts";
import { jinjaChatTemplate, loadChatTemplate } from "../../src/pretrained/chat_template.ts";
import { saveGguf } from "../../src/pretrained/gguf_model.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { loadTokenizer } from "../../src/pretrained/load_tokenizer.ts";
import type { ModelKind, ModelKinds } from "../../src/pretrained/model_kinds.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { assertSame } from "../support/compare.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const words = {
  sourceVocabSize: 9,
  targetVocabSize: 20,
  hiddenSize: 8,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
};
const sizes = {
  vocabSize: 20,
  maxPositionEmbeddings: 6,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
};
const random = () => new RandomState(3);
const yarn = {
  type: "yarn",
  factor: 4,
  attentionFactor: 1.1,
  betaFast: 30,
  betaSlow: 2,
  originalContextSize: 5,
} as const;

/** A model of each kind, none with the values that a new one has. */
const models: { [K in Exclude<keyof ModelKinds, "gemma3">]: () => ModelKinds[K] } = {
  gpt2: () =>
    new GPT2({ ...sizes, intermediateSize: 12, dropout: 0.1, attentionDropout: 0.2 }, {
      device,
      random: random(),
    }),
  gpt3: () => new GPT3({ ...sizes, localBlockSize: 3 }, { device, random: random() }),
  llama: () =>
    new LLaMA({ ...sizes, numKeyValueHeads: 1, ropeTheta: 500, attentionDropout: 0.3 }, {
      device,
      random: random(),
    }),
  mistral: () =>
    new Mistral({ ...sizes, headDim: 6, slidingWindow: 3 }, { device, random: random() }),
  qwen2: () => new Qwen2({ ...sizes, ropeScaling: yarn }, { device, random: random() }),
  qwen3: () =>
    new Qwen3({
      ...{ ...sizes, tieWordEmbeddings: true, slidingWindow: 3, attentionDropout: 0.1 },
      layerTypes: ["sliding_attention", "full_attention"],
    }, { device, random: random() }),
  gemma3_text: () =>
    new Gemma3({
      ...{ ...sizes, slidingWindow: 2, ropeScaling: { type: "linear", factor: 8 } },
      ...{ layerTypes: ["full_attention", "sliding_attention"], queryPreAttnScalar: 7 },
      finalLogitSoftcapping: 5,
    }, { device, random: random() }),
  phi3: () => new Phi3({ ...sizes, partialRotaryFactor: 0.5 }, { device, random: random() }),
  smollm3: () => new SmolLM3({ ...sizes, noRopeLayers: [0, 1] }, { device, random: random() }),
  modern_gpt: () =>
    new ModernGPT({ ...sizes, valueEmbeddings: true, qkNorm: false }, { device, random: random() }),
  transformer: () =>
    new Transformer({ ...words, tieWordEmbeddings: true, attentionDropout: 0.4 }, {
      device,
      random: random(),
    }),
};

function scores(model: ModelKinds[keyof ModelKinds]): Promise<unknown> {
  const ids = tensor(Int32Array.of(3, 1, 4, 1), { shape: [1, 4], device });
  const logits = model instanceof Transformer ? model.logits(ids, ids) : model.logits(ids);
  return logits.data();
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [kind, create] of Object.entries(models)) {
  Deno.test(`loadModel() gives the ${kind} that saveModel() wrote`, () =>
    inFolder(async (folder) => {
      using _scope = new Scope();
      const model = create();
      await saveModel(join(folder, "new"), model);
      const copy = await loadModel(join(folder, "new"), { device, kinds: [kind as ModelKind] });
      assert.equal(copy.constructor, model.constructor);
      assert.deepEqual(copy.config, model.config);
      assert.equal(copy.device, device);
      for (const [name, parameter] of model.parameters()) {
        assertSame(await copy.parameters().get(name)!.data(), await parameter.data(), name);
      }
      assertSame(await scores(copy), await scores(model));
    }));
}

Deno.test("loadModel() takes what transformers takes for fields that are missing", () =>
  inFolder(async (folder) => {
    const path = join(folder, "config.json");
    const configOf = async (kind: keyof typeof models, change: object) => {
      await saveModel(folder, models[kind]());
      const fields = JSON.parse(await Deno.readTextFile(path));
      await Deno.writeTextFile(path, JSON.stringify({ ...fields, ...change }));
      return (await loadModel(folder, { device, kinds: [kind] })).config;
    };
    const mistral = await configOf("mistral", { sliding_window: undefined });
    assert.equal((mistral as Mistral["config"]).slidingWindow, 4096);
    const older = { layer_types: undefined, rope_parameters: undefined };
    const qwen = await configOf("qwen3", { ...older, max_window_layers: 1 }) as Qwen3["config"];
    assert.deepEqual(qwen.layerTypes, ["full_attention", "sliding_attention"]);
    assert.equal(qwen.slidingWindow, 3);
    const off = await configOf("qwen3", { ...older, use_sliding_window: undefined });
    assert.deepEqual((off as Qwen3["config"]).layerTypes, Array(2).fill("full_attention"));
    const gemma = await configOf("gemma3_text", {
      ...{ ...older, sliding_window_pattern: 2, rope_theta: undefined },
      ...{ rope_local_base_freq: undefined },
    }) as Gemma3["config"];
    assert.deepEqual(gemma.layerTypes, ["sliding_attention", "full_attention"]);
    assert.deepEqual([gemma.ropeTheta, gemma.ropeLocalBaseFreq], [1_000_000, 10_000]);
    assert.deepEqual(gemma.ropeScaling, { type: "linear", factor: 8 });
    const smol = await configOf("smollm3", {
      ...{ no_rope_layers: undefined, no_rope_layer_interval: 2 },
    }) as SmolLM3["config"];
    assert.deepEqual(smol.noRopeLayers, [1, 0]);
    const phi = await configOf("phi3", { partial_rotary_factor: undefined }) as Phi3["config"];
    assert.equal(phi.partialRotaryFactor, 0.5); // out of rope_parameters
  }));

Deno.test("loadModel() takes the part for text of a Gemma 3 with pictures", () =>
  inFolder(async (folder) => {
    using _scope = new Scope();
    const model = models.gemma3_text();
    await saveModel(folder, model);
    const [config, weights] = ["config.json", "model.safetensors"].map((name) =>
      join(folder, name)
    );
    const text = JSON.parse(await Deno.readTextFile(config));
    const fields = { model_type: "gemma3", text_config: text, vision_config: {} };
    await Deno.writeTextFile(config, JSON.stringify(fields));
    const file = await SafetensorsFile.open(weights);
    const entries = await Promise.all([...file.tensors].map(async ([name, { dtype, shape }]) => {
      return { name: `language_model.${name}`, dtype, shape, data: await file.read(name) };
    }));
    file.close();
    const picture = { ...entries[0]!, name: "vision_tower.embeddings.weight" };
    await writeSafetensors(weights, [picture, ...entries]);
    const loaded = await loadModel(folder, { device });
    assert.equal(loaded.constructor, Gemma3);
    assert.deepEqual(loaded.config, model.config);
    assertSame(await scores(loaded), await scores(model));
  }));

Deno.test("saveModel() replaces the model that was there", () =>
  inFolder(async (folder) => {
    await saveModel(folder, models.gpt2());
    await saveModel(folder, models.llama());
    const model: LLaMA = await loadModel(folder, { device, kinds: ["llama"] });
    assert.ok(model instanceof LLaMA);
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
    assert.deepEqual(names.sort(), ["config.json", "model.safetensors"]);
  }));

Deno.test("loadModel() and loadTokenizer() say which file is missing", () =>
  inFolder(async (folder) => {
    const missing = (name: string) => (error: unknown) =>
      error instanceof FileFormatError && error.file === join(folder, name) &&
      /but got (none|neither)/.test(error.message);
    await assert.rejects(loadModel(folder, { device }), missing("config.json"));
    await saveModel(folder, models.gpt2());
    await assert.rejects(loadTokenizer(folder), missing("tokenizer.json"));
    await Deno.remove(join(folder, "model.safetensors"));
    await assert.rejects(loadModel(folder, { device }), missing("model.safetensors"));
  }));

Deno.test("loadModel() refuses what the fields of our own kinds cannot be", () =>
  inFolder(async (folder) => {
    const file = join(folder, "config.json");
    const cases: [kind: keyof typeof models, fields: object, message: RegExp][] = [
      [
        "phi3",
        { rope_scaling: { type: "longrope" } },
        /"rope_scaling.type" to be .* but got "longrope"/,
      ],
      ["phi3", { embd_pdrop: 0.1 }, /"embd_pdrop" to be 0 but got 0.1/],
      [
        "gemma3_text",
        { attn_logit_softcapping: 30 },
        /"attn_logit_softcapping" to be null but got 30/,
      ],
      ["gemma3_text", { layer_types: ["chunked_attention"] }, /"layer_types" to be a list of /],
      ["qwen3", { attention_bias: true }, /"attention_bias" to be false but got true/],
      ["qwen3", { layer_types: ["full_attention"] }, /2 layerTypes, one a block, but got 1/],
      ["smollm3", { no_rope_layers: [2, 1] }, /"no_rope_layers" to be a list of 0 and 1/],
      ["mistral", { sliding_window: 0 }, /"sliding_window" to be an integer above 0 but got 0/],
      ["gpt3", { local_block_size: 0 }, /"local_block_size" to be an integer above 0 but got 0/],
      ["transformer", { norm: "none" }, /"norm" to be "pre" or "post" or "branch" but got "none"/],
      ["transformer", { pad_token_id: -1 }, /"pad_token_id" to be an id but got -1/],
      ["transformer", { model_type: "gpt2" }, /"model_type" to be "transformer" but got "gpt2"/],
      ["transformer", { num_attention_heads: 3 }, /sizes that make a model: Transformer: /],
    ];
    for (const [kind, fields, message] of cases) {
      await saveModel(folder, models[kind](), { config: { ...fields } });
      await assert.rejects(
        loadModel(folder, { device, kinds: [kind] }),
        (error) =>
          error instanceof FileFormatError && error.file === file && message.test(error.message),
        message.source,
      );
    }
  }));

Deno.test("loadModel() refuses parameters of another configuration, and leaves no memory behind", () =>
  inFolder(async (folder) => {
    // A device of its own: what other tests forgot is collected when it pleases.
    using device = CpuDevice.open({ threads: 1 });
    const model = new GPT2(sizes, { device });
    await saveModel(folder, model);
    const file = join(folder, "config.json");
    const json = JSON.parse(await Deno.readTextFile(file));
    json.n_embd = 16;
    await Deno.writeTextFile(file, JSON.stringify(json));
    const before = device.memory().live;
    await assert.rejects(
      loadModel(folder, { device }),
      /model\.safetensors: .* "transformer\.wte\.weight" of shape \[20, 16\] but got \[20, 8\]/,
    );
    assert.equal(device.memory().live, before);
    model.dispose();
  }));

Deno.test("saveModel() and saveGguf() keep the chat template and its variables", () =>
  inFolder(async (folder) => {
    const tokenizer = BytePairTokenizer.train("low lower", { merges: 3, specialTokens: ["</s>"] });
    const chatTemplate = await jinjaChatTemplate("{{ messages[0].content }}{{ eos_token }}", {
      eos_token: "</s>",
    });
    using model = new GPT2({ ...sizes, vocabSize: tokenizer.vocabSize }, { device });
    await Deno.writeTextFile(join(folder, "chat_template.jinja"), "an earlier one");
    await saveModel(folder, model, { tokenizer, chatTemplate });
    const file = join(folder, "model.gguf");
    await saveGguf(file, model, { tokenizer, chatTemplate });
    for (const from of [folder, file]) {
      const { render } = await loadChatTemplate(from);
      const said = render([{ role: "user", content: "Hi" }], { addGenerationPrompt: true });
      assert.equal(said, "Hi</s>");
    }
    await saveModel(folder, model); // leaves it where it is
    assert.ok((await loadChatTemplate(folder)).jinja);
  }));

Deno.test("saveModel() refuses a tokenizer with more ids than the model", () =>
  inFolder(async (folder) => {
    using model = new GPT2(sizes, { device });
    const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 3 });
    await assert.rejects(
      saveModel(folder, model, { tokenizer }),
      /saveModel: expected a tokenizer of at most 20 ids, as the model, but got 259/,
    );
  }));

Deno.test("loadModel() of a file that is no model says so, and asks no hub", () =>
  inFolder(async (folder) => {
    const file = join(folder, "notes.txt");
    await Deno.writeTextFile(file, "");
    await assert.rejects(loadModel(file), /notes.txt: expected a model's folder or a .gguf but/);
  }));

Deno.test("saveModel() writes the tokenizer, which loadTokenizer() reads", () =>
  inFolder(async (folder) => {
    const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 3 });
    const model = new GPT2({ ...sizes, vocabSize: tokenizer.vocabSize }, { device });
    await saveModel(folder, model, { tokenizer });
    for (const from of [folder, join(folder, "tokenizer.json")]) {
      assert.deepEqual((await loadTokenizer(from)).encode("slow"), tokenizer.encode("slow"));
    }
  }));
