// A model is saved with its configuration, and what does not fit is refused with a word about it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { ModernGPT } from "../../src/models/modern_gpt.ts";
import { Transformer } from "../../src/models/transformer.ts";
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

/** A model of each kind, none with the values that a new one has. */
const models: { [K in keyof ModelKinds]: () => ModelKinds[K] } = {
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
    const cases: [kind: ModelKind, fields: object, message: RegExp][] = [
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

Deno.test("saveModel() writes the tokenizer, which loadTokenizer() reads", () =>
  inFolder(async (folder) => {
    const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 3 });
    const model = new GPT2({ ...sizes, vocabSize: tokenizer.vocabSize }, { device });
    await saveModel(folder, model, { tokenizer });
    for (const from of [folder, join(folder, "tokenizer.json")]) {
      assert.deepEqual((await loadTokenizer(from)).encode("slow"), tokenizer.encode("slow"));
    }
  }));
