// A model is saved with its configuration, and what does not fit is refused with a word about it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { LLaMA } from "../../src/models/llama.ts";
import {
  checkVocabSize,
  loadLanguageModel,
  loadModel,
  type ModelKinds,
  saveModel,
} from "../../src/models/model_folder.ts";
import { Transformer } from "../../src/models/transformer.ts";
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
    new GPT2({ ...sizes, intermediateSize: 12, dropout: 0.1 }, { device, random: random() }),
  gpt3: () => new GPT3({ ...sizes, localBlockSize: 3 }, { device, random: random() }),
  llama: () =>
    new LLaMA({ ...sizes, numKeyValueHeads: 1, ropeTheta: 500 }, { device, random: random() }),
  transformer: () =>
    new Transformer({ ...words, tieWordEmbeddings: true }, { device, random: random() }),
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
      const copy = await loadModel(join(folder, "new"), { device });
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
    assert.deepEqual(names.sort(), ["model.json", "model.safetensors"]);
  }));

Deno.test("loadModel() says which file is missing", () =>
  inFolder(async (folder) => {
    const missing = (name: string) => (error: unknown) =>
      error instanceof FileFormatError && error.file === join(folder, name) &&
      /is not there; a model's folder has model\.json/.test(error.message);
    await assert.rejects(loadModel(folder, { device }), missing("model.json"));
    await saveModel(folder, models.gpt2());
    await assert.rejects(loadLanguageModel(folder, { device }), missing("tokenizer.json"));
    await Deno.remove(join(folder, "model.safetensors"));
    await assert.rejects(loadModel(folder, { device }), missing("model.safetensors"));
  }));

Deno.test("loadModel() refuses what model.json cannot say", () =>
  inFolder(async (folder) => {
    await saveModel(folder, models.gpt2());
    const file = join(folder, "model.json");
    const good = JSON.parse(await Deno.readTextFile(file));
    const cases: [text: string, message: RegExp][] = [
      ["{", /model\.json: is not JSON: /],
      ["null", /describes no model/],
      [`{"model": "gpt2"}`, /describes no model/],
      [JSON.stringify({ ...good, model: "bert" }), /of the kind "bert", expected one of gpt2, /],
      [JSON.stringify({ ...good, model: "constructor" }), /of the kind "constructor"/],
      [
        JSON.stringify({ ...good, config: { ...good.config, numHiddenLayers: "2" } }),
        /expected "numHiddenLayers" to be an integer above 0 but got "2"/,
      ],
      [
        JSON.stringify({ ...good, config: { ...good.config, numAttentionHeads: 3 } }),
        /model\.json: has a "config" that makes no model: GPT2: expected numAttentionHeads to divide/,
      ],
    ];
    for (const [text, message] of cases) {
      await Deno.writeTextFile(file, text);
      await assert.rejects(
        loadModel(folder, { device }),
        (error) => error instanceof FileFormatError && message.test(error.message),
        text,
      );
    }
    await Deno.writeTextFile(file, JSON.stringify(good));
    await assert.rejects(
      loadModel(folder, { device, kinds: ["llama"] }),
      /model\.json: has a gpt2, expected llama/,
    );
  }));

Deno.test("loadModel() refuses parameters of another configuration, and leaves no memory behind", () =>
  inFolder(async (folder) => {
    // A device of its own: what other tests forgot is collected when it pleases.
    using device = CpuDevice.open({ threads: 1 });
    const model = new GPT2(sizes, { device });
    await saveModel(folder, model);
    const file = join(folder, "model.json");
    const json = JSON.parse(await Deno.readTextFile(file));
    json.config.hiddenSize = 16;
    await Deno.writeTextFile(file, JSON.stringify(json));
    const before = device.memory().live;
    await assert.rejects(
      loadModel(folder, { device }),
      /model\.safetensors does not fit the model: "wte\.weight" is \[20, 8\], expected \[20, 16\]/,
    );
    assert.equal(device.memory().live, before);
    model.dispose();
  }));

Deno.test("loadLanguageModel() brings the tokenizer, and refuses another model's", () =>
  inFolder(async (folder) => {
    const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 3 });
    await tokenizer.save(join(folder, "tokenizer.json"));
    await saveModel(folder, new GPT2({ ...sizes, vocabSize: tokenizer.vocabSize }, { device }));
    const loaded = await loadLanguageModel(folder, { device });
    assert.deepEqual(loaded.tokenizer.encode("slow"), tokenizer.encode("slow"));
    assert.equal(loaded.model.config.vocabSize, 259);

    await BytePairTokenizer.train("low", { merges: 1 }).save(join(folder, "tokenizer.json"));
    await assert.rejects(
      loadLanguageModel(folder, { device }),
      (error) =>
        error instanceof TypeError &&
        /tokenizer\.json: is not the vocabulary of this model: it has 257 ids, expected 259/
          .test(error.message),
    );
  }));

Deno.test("checkVocabSize() takes only the size that is expected", () => {
  checkVocabSize("words.json", 7, 7);
  assert.throws(() => checkVocabSize("words.json", 8, 7), /words\.json: .* has 8 ids, expected 7/);
});
