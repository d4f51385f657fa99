// The golden models, written in Hugging Face's layout and read back, give PyTorch's logits.
import assert from "node:assert/strict";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { SafetensorsFile, type TensorEntry, writeSafetensors } from "../../src/io/safetensors.ts";
import type { CausalLM } from "../../src/models/causal_lm.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { loadModel, type LoadModelOptions } from "../../src/pretrained/load_model.ts";
import type { LanguageModelKind, ModelKinds } from "../../src/pretrained/model_kinds.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { manifest, pick, tensorsOf, upload } from "../support/golden.ts";
import { byOurNames, llamaSizes, sizes } from "../support/golden_models.ts";

type LanguageModel = ModelKinds[LanguageModelKind];
type Values = Record<string, number[]>;

const cpu = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => cpu.close());
const small = {
  vocabSize: 10,
  maxPositionEmbeddings: 6,
  hiddenSize: 8,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
};
const random = () => new RandomState(3);

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A golden model with its golden parameters. */
async function goldenModel(name: string): Promise<LanguageModel> {
  const { config } = manifest(name);
  const model = name === "gpt2"
    ? new GPT2(sizes(config), { device: cpu })
    : new LLaMA(llamaSizes(config), { device: cpu });
  for (const [parameter, { data }] of byOurNames(await tensorsOf(`${name}.params`))) {
    assign(model.parameters().get(parameter)!, data);
  }
  return model;
}

async function valuesOf(model: CausalLM): Promise<Values> {
  const values = await readTensors([...model.parameters().values()]);
  return Object.fromEntries(
    [...model.parameters().keys()].map((name, i) => [name, Array.from(values[i])]),
  );
}

/** Rewrites the tensors of a folder's file. */
async function rewrite(
  folder: string,
  change: (entries: TensorEntry[]) => TensorEntry[],
): Promise<void> {
  const path = join(folder, "model.safetensors");
  const file = await SafetensorsFile.open(path);
  const entries = await Promise.all([...file.tensors].map(async ([name, { dtype, shape }]) => {
    return { name, dtype, shape, data: await file.read(name) };
  }));
  file.close();
  await writeSafetensors(path, change(entries), { format: "pt" });
}

for (const name of ["gpt2", "llama1", "llama2", "llama3"]) {
  const layouts: LoadModelOptions["ropeLayout"][] = name === "gpt2"
    ? [undefined]
    : ["half-split", "interleaved"];
  for (const ropeLayout of layouts) {
    const as = ropeLayout ? ` as ${ropeLayout}` : "";
    await onEachDevice(
      `loadModel() gives the golden logits of ${name}${as}`,
      (device) =>
        inFolder(async (folder) => {
          using _scope = new Scope();
          const golden = await goldenModel(name);
          await saveModel(folder, golden, { maxShardBytes: 50_000 });
          const model = await loadModel(folder, { device, ropeLayout });
          const expected = await tensorsOf(`${name}.expect`);
          const logits = noGrad(() => model.logits(upload(pick(expected, "input_ids"), device)));
          const within = manifest(name).tolerance.logits_abs;
          const found = await logits.data();
          pick(expected, "logits").data.forEach((value, i) =>
            assert(Math.abs(found[i] - value) <= within, `${i}: ${found[i]}, expected ${value}`)
          );
          if (ropeLayout !== "half-split") {
            assertSame(await valuesOf(model), await valuesOf(golden));
          }
          model.dispose();
          golden.dispose();
        }),
    );
  }

  Deno.test(`saveModel() and loadModel() keep every bit of ${name}`, () =>
    inFolder(async (folder) => {
      const golden = await goldenModel(name);
      const paths = [join(folder, "one"), join(folder, "shards"), join(folder, "back")];
      await saveModel(paths[0], golden);
      await saveModel(paths[1], golden, { maxShardBytes: 50_000 });
      const [one, shards] = [
        await loadModel(paths[0], { device: cpu }),
        await loadModel(paths[1], { device: cpu }),
      ];
      assertSame(await valuesOf(shards), await valuesOf(one));
      await saveModel(paths[2], one);
      const bytes = (path: string) => Deno.readFile(join(path, "model.safetensors"));
      assertSame(await bytes(paths[2]), await bytes(paths[0]));

      const index = JSON.parse(
        await Deno.readTextFile(join(paths[1], "model.safetensors.index.json")),
      );
      const names = new Set(Object.values<string>(index.weight_map));
      assert(names.size > 2);
      assert.deepEqual([...names][1], `model-00002-of-0000${names.size}.safetensors`);
      assert.equal(index.metadata.total_size, golden.parameterCount() * 4);
      // What was there before goes.
      await saveModel(paths[1], golden);
      const left = (await Array.fromAsync(Deno.readDir(paths[1]))).map(({ name }) => name).sort();
      assert.deepEqual(left, ["config.json", "model.safetensors"]);
      [golden, one, shards].forEach((model) => model.dispose());
    }));

  Deno.test(`saveModel() of ${name} in half precision keeps what it can hold`, () =>
    inFolder(async (folder) => {
      const golden = await goldenModel(name);
      for (const dtype of ["f16", "bf16"] as const) {
        await saveModel(folder, golden, { dtype });
        const once = await loadModel(folder, { device: cpu, ropeLayout: "interleaved" });
        await saveModel(folder, once, { dtype });
        const twice = await loadModel(folder, { device: cpu, ropeLayout: "interleaved" });
        const [exact, rounded] = [await valuesOf(golden), await valuesOf(once)];
        assertSame(await valuesOf(twice), rounded);
        const relative = dtype === "f16" ? 2 ** -11 : 2 ** -8;
        for (const [name, values] of Object.entries(exact)) {
          values.forEach((value, i) => {
            const error = Math.abs(rounded[name][i] - value);
            assert(error <= relative * Math.abs(value) + 2 ** -25, `${name}: ${value}`);
          });
        }
        if (dtype === "f16") {
          const half = await loadModel(folder, { device: cpu, dtype: "f16" });
          await saveModel(folder, half);
          using file = await SafetensorsFile.open(join(folder, "model.safetensors"));
          assert([...file.tensors.values()].every((info) => info.dtype === "F16"));
          half.dispose();
        }
        once.dispose();
        twice.dispose();
      }
      golden.dispose();
    }));
}

Deno.test("saveModel() writes GPT-2 by the names and shapes of transformers", () =>
  inFolder(async (folder) => {
    using _scope = new Scope();
    const model = new GPT2(small, { device: cpu, random: random() });
    await saveModel(folder, model, { config: { eos_token_id: 9 } });
    using file = await SafetensorsFile.open(join(folder, "model.safetensors"));
    assert.equal(file.metadata.format, "pt");
    const shapes = Object.fromEntries([...file.tensors].map(([name, { shape }]) => [name, shape]));
    // The keys of GPT2LMHeadModel.state_dict() but lm_head.weight, which is tied.
    assert.deepEqual(shapes, {
      "transformer.wte.weight": [10, 8],
      "transformer.wpe.weight": [6, 8],
      "transformer.h.0.ln_1.weight": [8],
      "transformer.h.0.ln_1.bias": [8],
      "transformer.h.0.attn.c_attn.weight": [8, 24],
      "transformer.h.0.attn.c_attn.bias": [24],
      "transformer.h.0.attn.c_proj.weight": [8, 8],
      "transformer.h.0.attn.c_proj.bias": [8],
      "transformer.h.0.ln_2.weight": [8],
      "transformer.h.0.ln_2.bias": [8],
      "transformer.h.0.mlp.c_fc.weight": [8, 32],
      "transformer.h.0.mlp.c_fc.bias": [32],
      "transformer.h.0.mlp.c_proj.weight": [32, 8],
      "transformer.h.0.mlp.c_proj.bias": [8],
      "transformer.ln_f.weight": [8],
      "transformer.ln_f.bias": [8],
    });
    // Conv1D: y = x weight, so the query of input 3, output 5 is row 3, column 5; the key's is in column 8 + 5.
    const fused = await file.readFloat32("transformer.h.0.attn.c_attn.weight");
    const own = await model.parameters().get("h.0.attn.c_attn.weight")!.data();
    assert.equal(fused[3 * 24 + 5], own[5 * 8 + 3]);
    assert.equal(fused[3 * 24 + 8 + 5], own[(8 + 5) * 8 + 3]);

    const config = JSON.parse(await Deno.readTextFile(join(folder, "config.json")));
    const { architectures, model_type, vocab_size, n_positions, n_embd, n_layer, n_head } = config;
    assert.deepEqual(
      { architectures, model_type, vocab_size, n_positions, n_embd, n_layer, n_head },
      {
        ...{ architectures: ["GPT2LMHeadModel"], model_type: "gpt2" },
        ...{ vocab_size: 10, n_positions: 6, n_embd: 8, n_layer: 1, n_head: 2 },
      },
    );
    assert.deepEqual([config.n_inner, config.activation_function], [null, "gelu_new"]);
    assert.deepEqual([config.torch_dtype, config.eos_token_id], ["float32", 9]);
    model.dispose();
  }));

Deno.test("saveModel() writes LLaMA by the names and shapes of transformers", () =>
  inFolder(async (folder) => {
    using _scope = new Scope();
    const config = { ...small, numKeyValueHeads: 1, intermediateSize: 12, ropeTheta: 5000 };
    const model = new LLaMA(config, { device: cpu, random: random() });
    await saveModel(folder, model, { dtype: "bf16" });
    using file = await SafetensorsFile.open(join(folder, "model.safetensors"));
    const shapes = Object.fromEntries([...file.tensors].map(([name, { shape }]) => [name, shape]));
    assert.deepEqual(shapes, {
      "model.embed_tokens.weight": [10, 8],
      "model.layers.0.input_layernorm.weight": [8],
      "model.layers.0.self_attn.q_proj.weight": [8, 8],
      "model.layers.0.self_attn.k_proj.weight": [4, 8],
      "model.layers.0.self_attn.v_proj.weight": [4, 8],
      "model.layers.0.self_attn.o_proj.weight": [8, 8],
      "model.layers.0.post_attention_layernorm.weight": [8],
      "model.layers.0.mlp.gate_proj.weight": [12, 8],
      "model.layers.0.mlp.up_proj.weight": [12, 8],
      "model.layers.0.mlp.down_proj.weight": [8, 12],
      "model.norm.weight": [8],
      "lm_head.weight": [10, 8],
    });
    const json = JSON.parse(await Deno.readTextFile(join(folder, "config.json")));
    delete json.initializer_range;
    assert.deepEqual(json, {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      vocab_size: 10,
      max_position_embeddings: 6,
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 4,
      hidden_act: "silu",
      rms_norm_eps: 1e-5,
      rope_theta: 5000,
      rope_scaling: null,
      rope_parameters: { rope_type: "default", rope_theta: 5000 },
      attention_bias: false,
      mlp_bias: false,
      attention_dropout: 0,
      tie_word_embeddings: false,
      bos_token_id: null,
      eos_token_id: null,
      torch_dtype: "bfloat16",
    });
    const loaded = await loadModel(folder, { device: cpu });
    assert.deepEqual(loaded.config, model.config);
    loaded.dispose();
    model.dispose();
  }));

Deno.test("loadModel() reads files without the prefix, with buffers, and with the tied matrix", () =>
  inFolder(async (folder) => {
    const model = new GPT2(small, { device: cpu, random: random() });
    await saveModel(folder, model);
    const mask = { dtype: "F32" as const, shape: [1, 1, 6, 6], data: new Float32Array(36) };
    await rewrite(folder, (entries) => [
      ...entries.map((entry) => ({ ...entry, name: entry.name.replace("transformer.", "") })),
      { ...mask, name: "h.0.attn.bias" },
      { ...mask, name: "h.0.attn.masked_bias", shape: [], data: new Float32Array(1) },
    ]);
    const bare = await loadModel(folder, { device: cpu });
    assertSame(await valuesOf(bare), await valuesOf(model));

    const tied = new LLaMA({ ...small, tieWordEmbeddings: true, ropeLayout: "interleaved" }, {
      device: cpu,
      random: random(),
    });
    await saveModel(folder, tied);
    await rewrite(folder, (entries) => {
      assert(!entries.some(({ name }) => name === "lm_head.weight"));
      return [...entries, { ...entries[0], name: "lm_head.weight" }];
    });
    const copy = await loadModel(folder, { device: cpu, ropeLayout: "interleaved" });
    assertSame(await valuesOf(copy), await valuesOf(tied));
    [model, bare, tied, copy].forEach((one) => one.dispose());
  }));

Deno.test("loadModel() pads the vocabulary with ids that are never likely, saveModel() cuts them", () =>
  inFolder(async (folder) => {
    using _scope = new Scope();
    const model = new GPT2(small, { device: cpu, random: random() });
    await saveModel(folder, model);
    const padded = await loadModel(folder, { device: cpu, vocabSize: 16 });
    const ids = tensor([[3, 1, 4]], { device: cpu, dtype: "i32" });
    const [logits, more] = await readTensors([model.logits(ids), padded.logits(ids)]);
    for (let t = 0; t < 3; t++) {
      const row = more.slice(16 * t, 16 * t + 10);
      assert.deepEqual(row, logits.slice(10 * t, 10 * t + 10));
      const likelihoods = Array.from(row, Math.exp);
      const mean = likelihoods.reduce((a, b) => a + b) / 10;
      for (const logit of more.slice(16 * t + 10, 16 * t + 16)) assert(Math.exp(logit) <= mean);
    }
    await saveModel(folder, padded, { vocabSize: 10 });
    const cut = await loadModel(folder, { device: cpu });
    assertSame(await valuesOf(cut), await valuesOf(model));
    await assert.rejects(loadModel(folder, { device: cpu, vocabSize: 9 }), {
      name: "RangeError",
      message: "loadModel: expected a vocabSize of 10 or more but got 9",
    });
    await assert.rejects(saveModel(folder, padded, { vocabSize: 17 }), RangeError);
    [model, padded, cut].forEach((one) => one.dispose());
  }));

Deno.test("loadModel() says what a configuration asks for that is not computed", () =>
  inFolder(async (folder) => {
    const file = join(folder, "config.json");
    const cases: [kind: "gpt2" | "llama", change: object, message: RegExp][] = [
      [
        "gpt2",
        { model_type: "bert" },
        /expected "model_type" to be "gpt2" or "gpt3" or "llama" or .* but got "bert"$/,
      ],
      ["gpt2", { activation_function: "relu" }, /"activation_function" to be "gelu_new" or /],
      ["gpt2", { n_layer: 1e9 }, /expected the tensors of 1000000000 layers, .* but got 16/],
      ["gpt2", { n_layer: "1" }, /"n_layer" to be an integer above 0 but got "1"$/],
      [
        "gpt2",
        { n_head: 3 },
        /GPT2: expected numAttentionHeads to divide hiddenSize but got 3 and 8$/,
      ],
      ["gpt2", { layer_norm_epsilon: 0 }, /"layer_norm_epsilon" to be a number above 0 but got 0$/],
      ["llama", { attention_bias: true }, /"attention_bias" to be false but got true$/],
      ["llama", { head_dim: 3 }, /LLaMA: expected an even headDim but got 3$/],
      [
        "llama",
        { head_dim: null, num_attention_heads: 3 },
        /"num_attention_heads" to be a divisor of the hidden size 8 but got 3$/,
      ],
      [
        "llama",
        { hidden_size: null },
        /"hidden_size" to be an integer above 0 but got nothing$/,
      ],
      ["llama", { rope_scaling: { type: "dynamic" } }, /"rope_scaling.type" to be /],
      ["llama", { rope_scaling: { type: "yarn" } }, /"rope_scaling.factor" to be a number above 0/],
      [
        "llama",
        { rope_scaling: { rope_type: "linear" } },
        /"rope_scaling.factor" to be a number above 0/,
      ],
      [
        "llama",
        { rope_parameters: { rope_type: "longrope", rope_theta: 1e4 } },
        /config\.json: expected "rope_parameters\.rope_type" to be .* but got "longrope"$/,
      ],
      ["llama", { rope_parameters: 5 }, /"rope_parameters" to be an object but got 5$/],
    ];
    for (const [kind, change, message] of cases) {
      const model = kind === "gpt2"
        ? new GPT2(small, { device: cpu })
        : new LLaMA(small, { device: cpu });
      await saveModel(folder, model, { config: { ...change } });
      model.dispose();
      await assert.rejects(loadModel(folder, { device: cpu }), (error: unknown) => {
        assert(error instanceof FileFormatError, String(error));
        assert.match(error.message, message);
        return true;
      });
    }
    for (const text of ["[]", "{", `"x"`]) {
      await Deno.writeTextFile(file, text);
      await assert.rejects(loadModel(folder, { device: cpu }), FileFormatError);
    }
    await Deno.remove(file);
    await assert.rejects(loadModel(folder, { device: cpu }), /config\.json: expected the file/);
    await assert.rejects(loadModel("./nothing"), /nothing: expected a folder or the name/);
  }));

Deno.test("loadModel() lists tensors that are missing, foreign or of another shape", () =>
  inFolder(async (folder) => {
    const before = cpu.memory().live;
    const model = new GPT2(small, { device: cpu });
    await saveModel(folder, model, { config: { n_positions: 7 } });
    model.dispose();
    const weights = join(folder, "model.safetensors");
    await rewrite(folder, (entries) => [
      ...entries.slice(0, -1),
      { ...entries.at(-1)!, name: "transformer.extra" },
    ]);
    await assert.rejects(loadModel(folder, { device: cpu }), (error: unknown) => {
      assert(error instanceof TypeError);
      assert.equal(
        error.message,
        `${weights}: the tensors do not fit the model: ` +
          `expected "transformer.wpe.weight" of shape [7, 8] but got [6, 8]; ` +
          `expected "transformer.ln_f.bias" of shape [8] but got none; unknown name "transformer.extra"`,
      );
      return true;
    });
    await Deno.truncate(weights, 3000);
    await assert.rejects(loadModel(folder, { device: cpu }), FileFormatError);
    await Deno.remove(weights);
    await assert.rejects(loadModel(folder, { device: cpu }), /expected this file or/);
    assert.equal(cpu.memory().live, before);
  }));

Deno.test("loadModel() refuses an index that is wrong", () =>
  inFolder(async (folder) => {
    const model = new GPT2(small, { device: cpu });
    await saveModel(folder, model, { maxShardBytes: 1000 });
    model.dispose();
    const file = join(folder, "model.safetensors.index.json");
    const good = JSON.parse(await Deno.readTextFile(file));
    const wpe = "transformer.wpe.weight";
    const cases: [map: unknown, message: RegExp][] = [
      [[], /index\.json: expected "weight_map" to be an object but got \[\]$/],
      [{ ...good.weight_map, [wpe]: "../model.safetensors" }, /to be the name of a safetensors/],
      [
        { ...good.weight_map, [wpe]: "other.safetensors" },
        /other\.safetensors: expected this file, /,
      ],
      [
        { ...good.weight_map, other: good.weight_map[wpe] },
        /expected tensor "other", which .* names/,
      ],
    ];
    for (const [weight_map, message] of cases) {
      await Deno.writeTextFile(file, JSON.stringify({ weight_map }));
      await assert.rejects(loadModel(folder, { device: cpu }), (error: unknown) => {
        assert(error instanceof FileFormatError);
        assert.match(error.message, message);
        return true;
      });
    }
  }));

Deno.test("saveModel() refuses what it cannot write", () =>
  inFolder(async (folder) => {
    class Other extends GPT3 {}
    const other = new Other({ ...small, localBlockSize: 2 }, { device: cpu });
    await assert.rejects(saveModel(folder, other), {
      name: "TypeError",
      message:
        "saveModel: expected one of GPT2, GPT3, LLaMA, Mistral, Qwen2, Qwen3, Gemma3, Phi3, SmolLM3, ModernGPT, Transformer but got Other",
    });
    const model = new GPT2(small, { device: cpu });
    assign(model.parameters().get("ln_f.bias")!, new Float32Array(8).fill(70000));
    await assert.rejects(saveModel(folder, model, { dtype: "f16" }), {
      name: "RangeError",
      message:
        `saveModel: expected values within f16 but got 70000 in "transformer.ln_f.bias"; take f32`,
    });
    assert.deepEqual(await Array.fromAsync(Deno.readDir(folder)), []);
    model.dispose();
    other.dispose();
  }));

Deno.test("LLaMA's scaled positions are read as old and new files say them, and written back", async () => {
  const ropeScaling = {
    type: "llama3",
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContextSize: 4,
  } as const;
  const fields = {
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 4,
  };
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    const config = {
      vocabSize: 10,
      maxPositionEmbeddings: 32,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 1,
      ropeScaling,
    };
    const model = new LLaMA(config, { device: cpu, random: new RandomState(4) });
    const plain = new LLaMA({ ...config, ropeScaling: null }, {
      device: cpu,
      random: new RandomState(4),
    });
    using ids = tensor(Int32Array.from({ length: 32 }, (_, i) => i % 10), {
      shape: [1, 32],
      device: cpu,
    });
    using expected = noGrad(() => model.logits(ids));
    using other = noGrad(() => plain.logits(ids));
    assert.notDeepEqual(await other.data(), await expected.data());
    await saveModel(folder, model);
    const file = join(folder, "config.json");
    const json = JSON.parse(await Deno.readTextFile(file));
    assert.deepEqual(json.rope_scaling, fields);
    assert.deepEqual(json.rope_parameters, { ...fields, rope_theta: 10000 });
    for (
      const change of [
        {},
        { rope_parameters: null },
        {
          rope_parameters: null,
          rope_scaling: { ...fields, rope_type: undefined, type: "llama3" },
        },
        { rope_scaling: null, rope_theta: null },
      ]
    ) {
      await Deno.writeTextFile(file, JSON.stringify({ ...json, ...change }));
      const loaded = await loadModel(folder, { device: cpu });
      assert.deepEqual((loaded as LLaMA).config.ropeScaling, ropeScaling);
      using logits = noGrad(() => loaded.logits(ids));
      assertSame(await logits.data(), await expected.data());
      loaded.dispose();
    }
    model.dispose();
    plain.dispose();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("LLaMA's linearly scaled positions come back", () =>
  inFolder(async (folder) => {
    const ropeScaling = { type: "linear", factor: 2.5 } as const;
    const model = new LLaMA({ ...small, ropeTheta: 5000, ropeScaling }, { device: cpu });
    await saveModel(folder, model);
    const loaded = await loadModel(folder, { device: cpu }) as LLaMA;
    assert.deepEqual(loaded.config.ropeScaling, ropeScaling);
    assert.equal(loaded.config.ropeTheta, 5000);
    model.dispose();
    loaded.dispose();
  }));

Deno.test("A model draws nothing when it is to be read: its matrices are 0", async () => {
  for (const make of [GPT2, LLaMA]) {
    const model = new make(small, { device: cpu, random: null });
    const values = Object.entries(await valuesOf(model));
    const drawn = values.filter(([, numbers]) =>
      numbers.some((value) => value !== 0 && value !== 1)
    );
    assert.deepEqual(drawn, []);
    model.dispose();
  }
});
