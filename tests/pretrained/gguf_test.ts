// LLaMA and GPT-2 in GGUF files. That llama.cpp reads them and comes to the same tokens is held by `deno task proof:gguf`.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { encodeGguf, GgufFile, type GgufValue } from "../../src/io/gguf.ts";
import { decodeGgml, encodeGgml } from "../../src/io/ggml_blocks.ts";
import type { CausalLM } from "../../src/models/causal_lm.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { GPT3 } from "../../src/models/gpt3.ts";
import { Gemma3 } from "../../src/models/gemma3.ts";
import { Mistral } from "../../src/models/mistral.ts";
import { Phi3 } from "../../src/models/phi3.ts";
import { Qwen2, Qwen3 } from "../../src/models/qwen.ts";
import { SmolLM3 } from "../../src/models/smollm3.ts";
import { LLaMA, type LLaMAConfig } from "../../src/models/llama.ts";
import type { LanguageModelKind, ModelKinds } from "../../src/pretrained/model_kinds.ts";
import { quantize } from "../../src/nn/quantize.ts";
import { saveGguf } from "../../src/pretrained/gguf_model.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { loadTokenizer } from "../../src/pretrained/load_tokenizer.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { tensor } from "../../src/tensor/create.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { loadGgufTokenizer } from "../../src/tokenizer/gguf_vocabulary.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { byteToken } from "../../src/tokenizer/sentencepiece_tokenizer.ts";
import { tokenizerFromJson } from "../../src/tokenizer/tokenizer_json.ts";
import { assertClose, assertSame } from "../support/compare.ts";
import { inFolder } from "../support/examples.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const sizes = {
  vocabSize: 40,
  maxPositionEmbeddings: 16,
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
};
const llamaSizes: LLaMAConfig = { ...sizes, numKeyValueHeads: 2, intermediateSize: 96 };
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
  originalContextSize: 40,
} as const;
const newRandom = () => new RandomState(3);

async function logitsOf(model: CausalLM): Promise<ArrayLike<number>> {
  using _scope = new Scope();
  const ids = tensor([[3, 1, 4, 1, 5, 9, 2, 6]], { device, dtype: "i32" });
  return await noGrad(() => model.logits(ids)).data();
}

const MODELS: readonly [string, () => ModelKinds[LanguageModelKind]][] = [
  ["a LLaMA", () => new LLaMA(llamaSizes, { device, random: newRandom() })],
  [
    "a LLaMA with interleaved pairs",
    () => new LLaMA({ ...llamaSizes, ropeLayout: "interleaved" }, { device, random: newRandom() }),
  ],
  [
    "a LLaMA 3.1 with tied embeddings",
    () =>
      new LLaMA(
        { ...llamaSizes, ropeTheta: 500_000, ropeScaling: llama3, tieWordEmbeddings: true },
        { device, random: newRandom() },
      ),
  ],
  [
    "a LLaMA with positions scaled linearly",
    () =>
      new LLaMA({ ...llamaSizes, ropeScaling: { type: "linear", factor: 4 } }, {
        device,
        random: newRandom(),
      }),
  ],
  [
    "a Qwen 2 with YaRN",
    () => new Qwen2({ ...llamaSizes, ropeScaling: yarn }, { device, random: newRandom() }),
  ],
  ["a Qwen 3", () => new Qwen3({ ...llamaSizes, headDim: 32 }, { device, random: newRandom() })],
  [
    "a Gemma 3",
    () =>
      new Gemma3({ ...llamaSizes, numHiddenLayers: 7, slidingWindow: 5 }, {
        device,
        random: newRandom(),
      }),
  ],
  [
    "a Phi 3",
    () => new Phi3({ ...llamaSizes, partialRotaryFactor: 0.75 }, { device, random: newRandom() }),
  ],
  [
    "a SmolLM 3",
    () => new SmolLM3({ ...llamaSizes, numHiddenLayers: 5 }, { device, random: newRandom() }),
  ],
  ["a GPT-2", () => new GPT2(sizes, { device, random: newRandom() })],
];

for (const [name, create] of MODELS) {
  Deno.test(`loadModel() of what saveGguf() wrote gives the same logits: ${name}`, () =>
    inFolder(async (folder) => {
      using model = create();
      const expected = await logitsOf(model);
      await saveGguf(`${folder}/model.gguf`, model);
      using loaded = await loadModel(`${folder}/model.gguf`, { device });
      const { ropeLayout: _, ...config } = { ropeLayout: "", ...model.config };
      assert.deepEqual({ ...loaded.config, ropeLayout: "" }, { ...config, ropeLayout: "" });
      assertClose(await logitsOf(loaded), expected, 1e-5);
      // In the model's own layout the numbers are the same ones.
      const { ropeLayout } = model.config as Partial<LLaMAConfig>;
      using same = await loadModel(`${folder}/model.gguf`, { device, ropeLayout });
      assert.deepEqual(
        await readTensors([...same.parameters().values()]),
        await readTensors([...model.parameters().values()]),
      );
    }));
}

Deno.test("saveGguf() stores matrices in the type that is asked for, and vectors in f32", () =>
  inFolder(async (folder) => {
    using model = new LLaMA(llamaSizes, { device, random: newRandom() });
    const weight = await model.parameters().get("model.layers.1.mlp.down_proj.weight")!.data();
    const path = `${folder}/model.gguf`;
    for (const dtype of ["f32", "f16", "bf16", "q8_0", "q4_0"] as const) {
      await saveGguf(path, model, { dtype, vocabSize: 33 });
      using file = await GgufFile.open(path);
      const type = dtype.toUpperCase() as "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0";
      assert.equal(file.info("blk.1.ffn_down.weight").type, type);
      assert.equal(file.info("blk.1.ffn_norm.weight").type, "F32");
      assert.deepEqual(file.info("token_embd.weight").shape, [33, 64]);
      const expected = decodeGgml(type, encodeGgml(type, weight as Float32Array));
      assert.deepEqual(await file.readFloat32("blk.1.ffn_down.weight"), expected);
      using loaded = await loadModel(path, { device, vocabSize: 40 });
      assert.equal(loaded.config.vocabSize, 40);
    }
    using gpt3 = new GPT3({ ...sizes, localBlockSize: 4 }, { device, random: null });
    await assert.rejects(saveGguf(path, gpt3), /expected one of LLaMA, .* GPT2 but got GPT3/);
  }));

Deno.test("saveGguf() refuses what llama.cpp does not compute", () =>
  inFolder(async (folder) => {
    const options = { device, random: null };
    const path = `${folder}/model.gguf`;
    const models: [ModelKinds[LanguageModelKind], RegExp][] = [
      [
        new Mistral({ ...llamaSizes, slidingWindow: 5 }, options),
        /no slidingWindow, .* but got 5$/,
      ],
      [new SmolLM3({ ...llamaSizes, noRopeLayers: [0, 1] }, options), /noRopeLayers .* got 0,1$/],
      [
        new Gemma3({ ...llamaSizes, slidingWindow: 5, ropeLocalBaseFreq: 3 }, options),
        /expected Gemma's own layerTypes, ropeLocalBaseFreq and/,
      ],
      [
        new Qwen3({ ...llamaSizes, ropeScaling: { ...yarn, attentionFactor: 2 } }, options),
        /YaRN without an attentionFactor but got 2$/,
      ],
    ];
    for (const [model, message] of models) {
      await assert.rejects(
        saveGguf(path, model),
        (error) => error instanceof RangeError && message.test(error.message),
      );
      model.dispose();
    }
    // A window that is as long as the context, or none, is no window.
    using mistral = new Mistral({ ...llamaSizes, slidingWindow: 16 }, options);
    await saveGguf(path, mistral);
    using loaded = await loadModel(path, { device });
    assert.equal(loaded.constructor, LLaMA);
  }));

Deno.test("matrices of f16, q8_0 or q4_0 stay so where it is asked for", () =>
  inFolder(async (folder) => {
    const path = `${folder}/model.gguf`;
    for (const dtype of ["f16", "q8_0", "q4_0"] as const) {
      for (const create of [MODELS[0]![1], MODELS.at(-1)![1]]) {
        using model = create();
        await saveGguf(path, model, { dtype });
        using plain = await loadModel(path, { device });
        using kept = await loadModel(path, { device, matrices: "stored" });
        const types = [...kept.parameters().values()].map((parameter) => parameter.dtype);
        assert.deepEqual(new Set(types), new Set([dtype, "f32"]));
        const valuesOf = async (model: CausalLM) =>
          (await readTensors([...model.parameters().values()])).map((x) => Float32Array.from(x));
        assert.deepEqual(await valuesOf(kept), await valuesOf(plain));
        // Few rows are rounded to 8 bits where the weights are quantised.
        assertClose(await logitsOf(kept), await logitsOf(plain), dtype === "f16" ? 5e-4 : 0.02);
        // Written again it has the same bytes.
        const bytes = await Deno.readFile(path);
        await saveGguf(path, kept, { dtype });
        assert.deepEqual(await Deno.readFile(path), bytes);
      }
    }
  }));

Deno.test("matrices become f16, q8_0 or q4_0 as they are read", () =>
  inFolder(async (folder) => {
    using model = MODELS[0]![1]();
    await saveModel(`${folder}/half`, model, { dtype: "f16" });
    using kept = await loadModel(`${folder}/half`, { device, matrices: "stored" });
    assert.deepEqual(matrixTypes(kept), ["f16"]);
    using plain = await loadModel(`${folder}/half`, { device });
    assert.deepEqual(matrixTypes(plain), ["f32"]);
    assertClose(await logitsOf(kept), await logitsOf(plain), 1e-5);
    await saveModel(`${folder}/full`, model);
    for (const matrices of ["f16", "q8_0", "q4_0"] as const) {
      using read = await loadModel(`${folder}/full`, { device, matrices });
      using made = await quantize(await loadModel(`${folder}/full`, { device }), matrices);
      assert.deepEqual(matrixTypes(read), [matrices]);
      assertSame(await logitsOf(read), await logitsOf(made));
      assert.ok(read.parameters().values().every((x) => x.requiresGrad === (x.dtype === "f32")));
    }
  }));

/** The types of the parameters with two axes. */
function matrixTypes(model: CausalLM): string[] {
  const matrices = [...model.parameters().values()].filter(({ shape }) => shape.length === 2);
  return [...new Set(matrices.map(({ dtype }) => dtype))];
}

/** The bytes of a good LLaMA with some values of its metadata changed; undefined takes one away. */
async function withMetadata(
  folder: string,
  changes: Readonly<Record<string, GgufValue | undefined>>,
): Promise<Uint8Array> {
  using model = new LLaMA(llamaSizes, { device, random: null });
  await saveGguf(`${folder}/good.gguf`, model);
  using file = await GgufFile.open(`${folder}/good.gguf`);
  const metadata = Object.entries({ ...Object.fromEntries(file.metadata), ...changes })
    .flatMap(([key, value]) => value ? [[key, value] as const] : []);
  const tensors = [...file.tensors].map(([name, { shape }]) => ({
    ...{ name, shape, type: "F32" as const, data: () => file.read(name) },
  }));
  return await encodeGguf(metadata, tensors);
}

Deno.test("loadModel() refuses by name what a GGUF file asks for and is not computed", () =>
  inFolder(async (folder) => {
    const u32 = (value: number): GgufValue => ({ type: "u32", value });
    const text = (value: string): GgufValue => ({ type: "string", value });
    const cases: [string, GgufValue | undefined, RegExp][] = [
      [
        "general.architecture",
        text("mamba"),
        /"general.architecture" to be "llama" or .* but got "mamba"/,
      ],
      ["general.architecture", undefined, /"general.architecture" .* but got nothing/],
      [
        "llama.block_count",
        undefined,
        /"llama.block_count" to be an integer above 0 but got nothing/,
      ],
      ["llama.block_count", u32(1e6), /tensors of 1000000 layers/],
      ["llama.attention.key_length", u32(8), /"llama.attention.value_length" to be 8 but got 16/],
      ["llama.rope.dimension_count", u32(8), /"llama.rope.dimension_count" to be 16 but got 8/],
      ["llama.expert_count", u32(4), /"llama.expert_count" to be 0 but got 4/],
      [
        "llama.rope.scaling.type",
        text("longrope"),
        /"llama.rope.scaling.type" to be "none", "linear" or "yarn" but got "longrope"/,
      ],
    ];
    for (const [key, value, message] of cases) {
      const path = `${folder}/bad.gguf`;
      await Deno.writeFile(path, await withMetadata(folder, { [key]: value }));
      await assert.rejects(loadModel(path, { device }), (error) => {
        assert.ok(error instanceof FileFormatError, String(error));
        assert.match(error.message, message);
        assert.ok(error.message.startsWith(path));
        return true;
      });
    }
    await Deno.writeFile(
      `${folder}/wide.gguf`,
      await withMetadata(folder, { "llama.feed_forward_length": u32(64) }),
    );
    await assert.rejects(
      loadModel(`${folder}/wide.gguf`, { device }),
      /expected "blk.0.ffn_gate.weight" of shape \[64, 64\] but got \[96, 64\]/,
    );
    await assert.rejects(
      loadModel(`${folder}/good.gguf`, { device, kinds: ["gpt2"] }),
      /to be "gpt2" but got "llama"/,
    );
    await assert.rejects(loadModel(`${folder}/none.gguf`, { device }), Deno.errors.NotFound);
  }));

const TEXTS = ["Hello, world! 12345 it's", "  two  spaces\n\nand é🦕", "", "low lower lowest<s>"];

Deno.test("a vocabulary comes back from GGUF as it was: byte pairs of both patterns", () =>
  inFolder(async (folder) => {
    for (const pattern of ["gpt2", "gpt4"] as const) {
      const tokenizer = BytePairTokenizer.train(TEXTS.join(" "), {
        ...{ merges: 30, specialTokens: ["<|endoftext|>", "<s>"], pattern },
      });
      await assertKept(folder, tokenizer);
    }
  }));

Deno.test("a vocabulary comes back from GGUF as it was: GPT-2's", () =>
  inFolder(async (folder) => void await assertKept(folder, new GPT2Tokenizer())));

const SENTENCE_PIECE = {
  added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true })),
  normalizer: {
    type: "Sequence",
    normalizers: [{ type: "Prepend", prepend: "▁" }, {
      ...{ type: "Replace", pattern: { String: " " }, content: "▁" },
    }],
  },
  post_processor: {
    ...{ type: "TemplateProcessing", special_tokens: { "<s>": { ids: [1] } } },
    single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
  },
  model: {
    ...{ type: "BPE", byte_fallback: true },
    vocab: Object.fromEntries(
      [
        ...["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, byte) => byteToken(byte))],
        ...["▁", "l", "o", "w", "e", "r", "s", "t", "lo", "low", "▁low", "er", "lower", "est"],
      ].map((token, id) => [token, id]),
    ),
    merges: ["l o", "lo w", "▁ low", "e r", "low er", "e s"].slice(0, 5),
  },
};

Deno.test("a vocabulary comes back from GGUF as it was: SentencePiece's", () =>
  inFolder(async (folder) => {
    const tokenizer = await assertKept(folder, tokenizerFromJson(SENTENCE_PIECE));
    assert.deepEqual(tokenizer.prefix, [1]);
    assert.deepEqual([...tokenizer.encode("low é")], [269, 259, 0xc3 + 3, 0xa9 + 3]);
  }));

Deno.test("a vocabulary comes back from GGUF as it was: one without a space before a text, such as Gemma's", () =>
  inFolder(async (folder) => {
    const [, normalizer] = SENTENCE_PIECE.normalizer.normalizers;
    const tokenizer = await assertKept(
      folder,
      tokenizerFromJson({ ...SENTENCE_PIECE, normalizer }),
    );
    assert.deepEqual([...tokenizer.encode("low")], [268]);
  }));

Deno.test("saveGguf() leaves out special tokens beyond the model's ids, and refuses others", () =>
  inFolder(async (folder) => {
    const options = { merges: 5, specialTokens: ["<|endoftext|>", "<image>"] };
    const tokenizer = BytePairTokenizer.train("low lower lowest", options);
    const config = { ...sizes, hiddenSize: 4, numHiddenLayers: 1, numAttentionHeads: 1 };
    const path = `${folder}/model.gguf`;
    const save = async (vocabSize: number) => {
      using model = new GPT2({ ...config, vocabSize }, { device, random: null });
      await saveGguf(path, model, { tokenizer });
    };
    await save(tokenizer.vocabSize - 1);
    const loaded = await loadTokenizer(path);
    assert.equal(loaded.vocabSize, tokenizer.vocabSize - 1);
    assert.deepEqual([...loaded.specialTokens.keys()], ["<|endoftext|>"]);
    assert.deepEqual(loaded.encode("slowest"), tokenizer.encode("slowest"));
    await assert.rejects(save(tokenizer.vocabSize - 3), {
      name: "RangeError",
      message: /^saveGguf: expected a tokenizer of at most \d+ ids, as the model has, but got/,
    });
  }));

/** Saves a tokenizer beside a model with more ids, and holds what is loaded to it. */
async function assertKept(
  folder: string,
  tokenizer: ReturnType<typeof tokenizerFromJson> | GPT2Tokenizer,
): Promise<ReturnType<typeof tokenizerFromJson>> {
  const vocabSize = tokenizer.vocabSize + 7;
  const config = { ...sizes, vocabSize, hiddenSize: 4, numHiddenLayers: 1 };
  using model = new GPT2({ ...config, numAttentionHeads: 1 }, { device, random: null });
  const path = `${folder}/model.gguf`;
  await saveGguf(path, model, { tokenizer });
  const loaded = await loadTokenizer(path);
  assert.equal(loaded.vocabSize, tokenizer.vocabSize);
  assert.deepEqual([...loaded.specialTokens], [...tokenizer.specialTokens]);
  assert.deepEqual([loaded.prefix, loaded.suffix], [tokenizer.prefix, tokenizer.suffix]);
  const again = tokenizerFromJson(loaded.toJSON());
  for (const text of TEXTS) {
    const ids = loaded.encode(text, { disallowedSpecial: [] });
    assert.deepEqual(ids, tokenizer.encode(text, { disallowedSpecial: [] }));
    assert.deepEqual(again.encode(text, { disallowedSpecial: [] }), ids);
    assert.equal(loaded.decode(ids), text);
  }
  return loaded;
}

Deno.test("loadGgufTokenizer() refuses vocabularies by key", async () => {
  const strings = (...value: string[]): GgufValue => ({ type: "array", of: "string", value });
  const text = (value: string): GgufValue => ({ type: "string", value });
  const key = (name: string) => `tokenizer.ggml.${name}`;
  const types: GgufValue = { type: "array", of: "i32", value: Int32Array.of(1) };
  const cases: [Record<string, GgufValue>, RegExp][] = [
    [{}, /"tokenizer.ggml.model" to be "gpt2" or "llama" but got nothing/],
    [{ model: text("bert") }, /"tokenizer.ggml.model" .* but got "bert"/],
    [{ model: text("gpt2"), pre: text("deepseek") }, /"tokenizer.ggml.pre" .* but got "deepseek"/],
    [{ model: text("gpt2"), pre: text("gpt-2") }, /"tokenizer.ggml.tokens" to be a list of string/],
    [
      { model: text("gpt2"), pre: text("gpt-2"), tokens: strings("a", "b"), token_type: types },
      /"tokenizer.ggml.token_type" to be 2 numbers but got 1 of i32/,
    ],
    [
      { model: text("llama"), tokens: strings("a"), token_type: types },
      /"tokenizer.ggml.bos_token_id" to be an id below 1 but got nothing/,
    ],
  ];
  for (const [values, message] of cases) {
    const bytes = await encodeGguf(Object.entries(values).map(([name, v]) => [key(name), v]), []);
    await assert.rejects(loadGgufTokenizer(bytes), message);
  }
});
