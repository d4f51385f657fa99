// What a config.json means where it says little, what is written into it, and folders of the wrong kind.
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  CpuDevice,
  GPT2,
  type GPT2Config,
  type LanguageModelKind,
  LLaMA,
  type LLaMAConfig,
  loadModel,
  type ModelKinds,
  readTensors,
  saveModel,
  Transformer,
} from "../../mod.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { inFolder } from "../support/examples.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const sizes = {
  vocabSize: 12,
  maxPositionEmbeddings: 8,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
};

type Fields = Record<string, unknown>;

/** The configuration that is read where the fields of config.json are changed so, and the fields before. */
async function configOf<M extends GPT2 | LLaMA>(
  folder: string,
  model: M,
  change: Fields = {},
): Promise<{ config: M["config"]; fields: Fields }> {
  await saveModel(folder, model);
  const path = join(folder, "config.json");
  const fields: Fields = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify({ ...fields, ...change }));
  const loaded = await loadModel(folder, { device });
  const { config } = loaded as M;
  loaded.dispose();
  return { config: config as M["config"], fields };
}

Deno.test("loadModel() takes GPT-2's defaults for what is missing", () =>
  inFolder(async (folder) => {
    const options: Partial<GPT2Config>[] = [{}, { intermediateSize: 20, dropout: 0.25 }];
    for (const more of options) {
      const model = new GPT2({ ...sizes, ...more }, { device });
      const { config, fields } = await configOf(folder, model);
      assert.deepEqual(config, model.config);
      assert.equal(fields.n_inner, more.intermediateSize ?? null);
      assert.equal(fields.resid_pdrop, more.dropout ?? 0);
      assert.equal(fields.attn_pdrop, more.dropout ?? 0);
      const missing = { resid_pdrop: undefined, attn_pdrop: undefined };
      const bare = await configOf(folder, model, missing);
      assert.deepEqual([bare.config.dropout, bare.config.attentionDropout], [0.1, 0.1]);
      const none = await configOf(folder, model, { resid_pdrop: 0 });
      assert.equal(none.config.dropout, 0);
      model.dispose();
    }
    const model = new GPT2(sizes, { device });
    for (const change of [{ n_head: 0 }, { n_layer: 1.5 }, { n_embd: -8 }, { resid_pdrop: 1 }]) {
      await assert.rejects(configOf(folder, model, change), (error: unknown) => {
        assert.ok(error instanceof FileFormatError);
        assert.match(error.message, new RegExp(`"${Object.keys(change)[0]}"`));
        return true;
      });
    }
    model.dispose();
  }));

Deno.test("loadModel() takes LLaMA's defaults for what is missing", () =>
  inFolder(async (folder) => {
    const rich: Partial<LLaMAConfig> = {
      ...{
        numKeyValueHeads: 2,
        ropeTheta: 500,
        rmsNormEps: 1e-4,
        intermediateSize: 20,
        tieWordEmbeddings: true,
      },
    };
    for (const more of [{}, rich]) {
      const model = new LLaMA({ ...sizes, ropeLayout: "half-split", ...more }, { device });
      assert.deepEqual((await configOf(folder, model)).config, model.config);
      model.dispose();
    }
    const model = new LLaMA({ ...sizes, ropeLayout: "half-split" }, { device });
    const bare = await configOf(folder, model, {
      ...{ rms_norm_eps: undefined, rope_theta: undefined, rope_parameters: undefined },
      ...{ max_position_embeddings: undefined, num_key_value_heads: undefined },
      ...{ tie_word_embeddings: undefined, head_dim: undefined, rope_scaling: undefined },
    });
    const {
      rmsNormEps,
      ropeTheta,
      maxPositionEmbeddings,
      numKeyValueHeads,
      tieWordEmbeddings,
      ropeScaling,
    } = bare.config;
    assert.deepEqual(
      {
        rmsNormEps,
        ropeTheta,
        maxPositionEmbeddings,
        numKeyValueHeads,
        tieWordEmbeddings,
        ropeScaling,
      },
      {
        ...{
          rmsNormEps: 1e-6,
          ropeTheta: 10_000,
          maxPositionEmbeddings: 2048,
          numKeyValueHeads: 4,
        },
        ...{ tieWordEmbeddings: false, ropeScaling: null },
      },
    );
    const scaling = { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const scaled = (change: Fields) =>
      configOf(folder, model, { rope_scaling: scaling, ...change });
    const of = async (change: Fields) => {
      const { ropeScaling } = (await scaled(change)).config;
      assert.ok(ropeScaling?.type === "llama3");
      return ropeScaling.originalContextSize;
    };
    assert.equal(await of({}), 8, "the context, where nothing is said of the original one");
    assert.equal(await of({ max_position_embeddings: undefined }), 2048);
    assert.equal(await of({ max_position_embeddings: 4096 }), 4096);
    model.dispose();
  }));

Deno.test("loadModel() passes over GPT-2's output matrix, which is the embedding", () =>
  inFolder(async (folder) => {
    const { SafetensorsFile, writeSafetensors } = await import("../../mod.ts");
    const model = new GPT2(sizes, { device });
    await saveModel(folder, model);
    const path = join(folder, "model.safetensors");
    const file = await SafetensorsFile.open(path);
    const entries = await Promise.all(
      [...file.tensors].map(async ([name, { dtype, shape }]) => {
        return { name, dtype, shape, data: await file.read(name) };
      }),
    );
    file.close();
    const embedding = entries.find(({ name }) => name === "transformer.wte.weight")!;
    await writeSafetensors(path, [...entries, { ...embedding, name: "lm_head.weight" }]);
    const loaded = await loadModel(folder, { device });
    const values = (one: ModelKinds[LanguageModelKind]) =>
      readTensors([...one.parameters().values()]);
    assert.deepEqual(await values(loaded), await values(model));
    model.dispose();
    loaded.dispose();
  }));

Deno.test("saveModel() begins another file only where the one before would get too long", () =>
  inFolder(async (folder) => {
    const model = new GPT2(sizes, { device });
    const all = 4 * model.parameterCount();
    const files = async (maxShardBytes: number) => {
      await saveModel(folder, model, { maxShardBytes });
      const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
      return names.filter((name) => name.endsWith(".safetensors")).sort();
    };
    assert.deepEqual(await files(all), ["model.safetensors"]);
    assert.deepEqual(await files(all - 1), [
      ...["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    ]);
    const index = JSON.parse(await Deno.readTextFile(join(folder, "model.safetensors.index.json")));
    assert.equal(index.metadata.total_size, all);
    model.dispose();
  }));

Deno.test("loadModel() gives the type asked for, and no translator unless asked for one", () =>
  inFolder(async (folder) => {
    const model = new GPT2(sizes, { device });
    await saveModel(folder, model);
    for (const dtype of ["f32", "f16"] as const) {
      const loaded = await loadModel(folder, { device, dtype });
      for (const { dtype: found } of loaded.parameters().values()) assert.equal(found, dtype);
      loaded.dispose();
    }
    const path = join(folder, "config.json");
    const json = JSON.parse(await Deno.readTextFile(path));
    json.n_layer = 3000;
    await Deno.writeTextFile(path, JSON.stringify(json));
    await assert.rejects(loadModel(folder, { device }), (error: unknown) => {
      assert.ok(error instanceof FileFormatError);
      assert.match(error.message, /3000/);
      return true;
    });
    model.dispose();

    const translator = new Transformer({
      ...{ sourceVocabSize: 9, targetVocabSize: 9, maxPositionEmbeddings: 6 },
      ...{ hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 },
    }, { device });
    await saveModel(join(folder, "translator"), translator);
    translator.dispose();
    const before = device.memory().live;
    await assert.rejects(
      loadModel(join(folder, "translator"), { device }),
      /expected "model_type" to be "gpt2" or "gpt3" or "llama" or .* but got "transformer"/,
    );
    assert.equal(device.memory().live, before);
  }));

Deno.test("loadModel() tells a run's folder from a model's", () =>
  inFolder(async (folder) => {
    await assert.rejects(loadModel(folder, { device }), /expected the file that says .* got none$/);
    await Deno.writeTextFile(join(folder, "step_00000001.safetensors"), "");
    await assert.rejects(
      loadModel(folder, { device }),
      /run's checkpoints, of which `dinograd convert` makes a model$/,
    );
  }));
