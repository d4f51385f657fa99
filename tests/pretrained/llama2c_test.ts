// LLaMA in llama2.c's files.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { Llama2cFile } from "../../src/io/llama2c_bin.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { loadLlama2c, saveLlama2c } from "../../src/pretrained/llama2c.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { assign } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { noGrad } from "../../src/tensor/tape.ts";
import { readTensors } from "../../src/tensor/tensor.ts";
import { assertSame } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";
import { manifest, pick, tensorsOf, upload } from "../support/golden.ts";
import { llamaSizes } from "../support/golden_models.ts";

const cpu = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => cpu.close());
const small = {
  vocabSize: 10,
  maxPositionEmbeddings: 6,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
};

async function withPath(body: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await body(`${folder}/model.bin`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const valuesOf = (model: LLaMA) => readTensors([...model.parameters().values()]);

for (const name of ["llama1", "llama2"]) {
  for (const version of [0, 1] as const) {
    await onEachDevice(
      `loadLlama2c() gives the golden logits of ${name} from version ${version}`,
      (device) =>
        withPath(async (path) => {
          using _scope = new Scope();
          const { config, tolerance } = manifest(name);
          const golden = new LLaMA(llamaSizes(config), { device: cpu });
          for (const [parameter, { data }] of await tensorsOf(`${name}.params`)) {
            assign(golden.parameters().get(parameter)!, data);
          }
          await saveLlama2c(golden, path, { version });
          const model = await loadLlama2c(path, { device });
          assertSame(await valuesOf(model), await valuesOf(golden));
          const expected = await tensorsOf(`${name}.expect`);
          const logits = noGrad(() => model.logits(upload(pick(expected, "input_ids"), device)));
          const found = await logits.data();
          pick(expected, "logits").data.forEach((value, i) =>
            assert(Math.abs(found[i] - value) <= tolerance.logits_abs, `${i}: ${found[i]}`)
          );
          const bytes = await Deno.readFile(path);
          await saveLlama2c(model, path, { version });
          assertSame(await Deno.readFile(path), bytes);
          model.dispose();
          golden.dispose();
        }),
    );
  }
}

Deno.test("saveLlama2c() lays version 0 out as run.c reads it", () =>
  withPath(async (path) => {
    const model = new LLaMA({ ...small, intermediateSize: 12, ropeLayout: "interleaved" }, {
      device: cpu,
      random: new RandomState(1),
    });
    await saveLlama2c(model, path);
    const bytes = await Deno.readFile(path);
    // dim, hidden_dim, n_layers, n_heads, n_kv_heads, -vocab_size (its own output matrix), seq_len
    assert.deepEqual([...new Int32Array(bytes.buffer, 0, 7)], [8, 12, 2, 2, 1, -10, 6]);
    const parameters = await Promise.all(
      [...model.parameters()].map(async ([name, tensor]) => [name, await tensor.data()] as const),
    );
    const value = Object.fromEntries(parameters);
    const layers = (name: string) =>
      [0, 1].flatMap((i) => [...value[`model.layers.${i}.${name}.weight`]]);
    const floats = [...new Float32Array(bytes.buffer, 28)];
    const before = [
      ...value["model.embed_tokens.weight"],
      ...layers("input_layernorm"),
      ...["q_proj", "k_proj", "v_proj", "o_proj"].flatMap((one) => layers(`self_attn.${one}`)),
      ...layers("post_attention_layernorm"),
      ...["gate_proj", "down_proj", "up_proj"].flatMap((one) => layers(`mlp.${one}`)),
      ...value["model.norm.weight"],
    ];
    assertSame(floats.slice(0, before.length), before);
    const sines = floats.slice(before.length, before.length + 24); // 6 positions of 2 pairs, twice
    assert.deepEqual(sines.slice(0, 2), [1, 1]);
    assert.equal(sines[2], Math.fround(Math.cos(1)));
    assert.equal(sines[15], Math.fround(Math.sin(0.01)));
    assert.deepEqual(floats.slice(before.length + 24), [...value["lm_head.weight"]]);
    model.dispose();
  }));

Deno.test("saveLlama2c() writes a tied model, and one with half-split pairs, as the same model", () =>
  withPath(async (path) => {
    const model = new LLaMA({ ...small, tieWordEmbeddings: true, ropeLayout: "interleaved" }, {
      device: cpu,
      random: new RandomState(2),
    });
    await saveModel(path, model);
    const halfSplit = await loadModel(path, { device: cpu }) as LLaMA;
    assert.equal(halfSplit.config.ropeLayout, "half-split");
    await saveLlama2c(model, `${path}.a`, { version: 1 });
    await saveLlama2c(halfSplit, `${path}.b`, { version: 1 });
    assertSame(await Deno.readFile(`${path}.b`), await Deno.readFile(`${path}.a`));
    const copy = await loadLlama2c(`${path}.b`, { device: cpu });
    assert.equal(copy.config.tieWordEmbeddings, true);
    assertSame(await valuesOf(copy), await valuesOf(model));
    [model, halfSplit, copy].forEach((one) => one.dispose());
  }));

Deno.test("saveLlama2c() refuses what its files cannot say", () =>
  withPath(async (path) => {
    const model = new LLaMA({ ...small, ropeTheta: 500_000 }, { device: cpu });
    await assert.rejects(saveLlama2c(model, path), {
      name: "RangeError",
      message: "saveLlama2c: expected a ropeTheta of 10000 but got 500000",
    });
    const ropeScaling = { type: "linear", factor: 2 } as const;
    const scaled = new LLaMA({ ...small, ropeScaling }, { device: cpu });
    await assert.rejects(saveLlama2c(scaled, path), {
      name: "RangeError",
      message: `saveLlama2c: expected a ropeScaling of null but got {"type":"linear","factor":2}`,
    });
    await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
    model.dispose();
    scaled.dispose();
  }));

Deno.test("Llama2cFile.open() refuses what is no llama2.c model, or not whole", () =>
  withPath(async (path) => {
    const model = new LLaMA(small, { device: cpu });
    for (const version of [0, 1] as const) {
      await saveLlama2c(model, path, { version });
      const good = await Deno.readFile(path);
      const at = version === 0 ? 0 : 8;
      const change = (index: number, value: number) => {
        const copy = good.slice();
        new DataView(copy.buffer).setInt32(index, value, true);
        return copy;
      };
      const cases: [bytes: Uint8Array, message: RegExp][] = [
        [good.subarray(0, 20), /expected a llama2\.c header of/],
        [
          good.subarray(0, -4),
          /expected \d+ bytes for its sizes but got \d+ \(at byte [08]\)$/,
        ],
        [change(at, 2 ** 31 - 2), /for its sizes|heads that divide/],
        [change(at + 8, 2 ** 31 - 1), /for its sizes/],
        [change(at + 8, 0), /llama2\.c sizes of 1 or more but got 0 \(at byte \d+\)$/],
        [change(at + 12, 3), /heads that divide 8 into even sizes but got 3, 1 of keys/],
        ...version === 0 ? [] : [[change(4, 2), /expected llama2\.c version 0 or 1 but got 2/]] as [
          Uint8Array,
          RegExp,
        ][],
      ];
      for (const [bytes, message] of cases) {
        await assert.rejects(Llama2cFile.open(bytes), (error: unknown) => {
          assert(error instanceof FileFormatError, String(error));
          assert.match(error.message, message);
          return true;
        });
      }
    }
    model.dispose();
  }));
