// Adapters in PEFT's layout: what is written is what is read, and what does not fit is refused.
import assert from "node:assert/strict";
import { join } from "node:path";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { FileFormatError } from "../../src/io/errors.ts";
import { SafetensorsFile } from "../../src/io/safetensors.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { LLaMA } from "../../src/models/llama.ts";
import { applyLoRA, type LoRA } from "../../src/nn/lora.ts";
import { assignFloats } from "../../src/nn/state_dict.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { loadLoRA, saveLoRA } from "../../src/pretrained/lora_files.ts";
import { saveModel } from "../../src/pretrained/save_model.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { assertClose, assertSame } from "../support/compare.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const sizes = {
  vocabSize: 20,
  maxPositionEmbeddings: 6,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
};
const random = () => new RandomState(3);

/** The logits of a few tokens. */
function scores(model: GPT2 | LLaMA): Promise<ArrayLike<number>> {
  return model.logits(tensor(Int32Array.of(3, 1, 4, 1), { shape: [1, 4], device })).data();
}

/** An adapter whose B is not 0. */
function trained(model: GPT2 | LLaMA): LoRA {
  const adapter = applyLoRA(model, { r: 2, loraAlpha: 6, random: random() });
  for (const parameter of adapter.parameters().values()) {
    assignFloats(
      parameter,
      Float32Array.from({ length: parameter.size }, (_, i) => Math.sin(i) / 4),
    );
  }
  return adapter;
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  using _scope = new Scope();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (
  const [name, create, first] of [
    ["GPT-2", () => new GPT2(sizes, { device, random: random() }), "transformer.h.0.attn.c_attn"],
    [
      "LLaMA",
      () => new LLaMA({ ...sizes, numKeyValueHeads: 1 }, { device, random: random() }),
      "model.layers.0.self_attn.q_proj",
    ],
  ] as const
) {
  Deno.test(`an adapter of ${name} is written with PEFT's names, and read again`, () =>
    inFolder(async (folder) => {
      const model = create();
      const base = await scores(model);
      const adapter = trained(model);
      const expected = await scores(model);
      await saveLoRA(folder, adapter, { baseModel: "someone/model" });
      adapter.dispose();
      assertSame(await scores(model), base);
      const config = JSON.parse(await Deno.readTextFile(join(folder, "adapter_config.json")));
      assert.equal(config.peft_type, "LORA");
      assert.equal(config.base_model_name_or_path, "someone/model");
      assert.deepEqual([config.r, config.lora_alpha], [2, 6]);
      assert.equal(config.fan_in_fan_out, name === "GPT-2");
      {
        using file = await SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
        const stored = [...file.tensors.keys()];
        assert.equal(stored[0], `base_model.model.${first}.lora_A.weight`);
        assert.deepEqual(file.info(stored[0]).shape, [2, 8]);
      }
      const loaded = await loadLoRA(folder, model);
      assertSame(await scores(model), expected);
      assert.equal(loaded.scaling, 3);
    }));
}

Deno.test("an adapter fits a LLaMA whose rotary pairs lie in the other order", () =>
  inFolder(async (folder) => {
    const model = new LLaMA(sizes, { device, random: random() });
    await saveModel(join(folder, "model"), model);
    await saveLoRA(join(folder, "adapter"), trained(model));
    const expected = await scores(model);
    const other = await loadModel(join(folder, "model"), { device, ropeLayout: "interleaved" });
    const adapter = await loadLoRA(join(folder, "adapter"), other);
    assertClose(await scores(other as LLaMA), expected, 1e-5);
    await saveLoRA(join(folder, "again"), adapter);
    const read = (name: string) => Deno.readFile(join(folder, name, "adapter_model.safetensors"));
    assertSame(await read("again"), await read("adapter"));
  }));

Deno.test("loadLoRA() refuses what it cannot compute, and leaves the model as it was", () =>
  inFolder(async (folder) => {
    const model = new GPT2(sizes, { device, random: random() });
    const base = await scores(model);
    await assert.rejects(loadLoRA(folder, model), FileFormatError);
    const adapter = trained(model);
    await saveLoRA(folder, adapter);
    adapter.dispose();
    const file = join(folder, "adapter_config.json");
    const config = JSON.parse(await Deno.readTextFile(file));
    const refused: [Record<string, unknown>, RegExp][] = [
      [{ peft_type: "IA3" }, /"peft_type" to be "LORA" but got "IA3"/],
      [{ use_dora: true }, /"use_dora" to be false/],
      [{ bias: "all" }, /"bias" to be "none"/],
      [{ modules_to_save: ["wte"] }, /"modules_to_save" to be empty/],
      [{ rank_pattern: { c_attn: 4 } }, /"rank_pattern" to be empty/],
      [{ r: 3 }, /lora_A.weight" of shape \[3, 8\] but got \[2, 8\]/],
    ];
    for (const [fields, message] of refused) {
      await Deno.writeTextFile(file, JSON.stringify({ ...config, ...fields }));
      await assert.rejects(loadLoRA(folder, model), message);
    }
    await Deno.writeTextFile(file, JSON.stringify(config));
    const smaller = new GPT2({ ...sizes, numHiddenLayers: 1 }, { device, random: random() });
    await assert.rejects(
      loadLoRA(folder, smaller),
      /linear layers but got those of "h.1.attn.c_attn"/,
    );
    await Deno.remove(join(folder, "adapter_model.safetensors"));
    await assert.rejects(
      loadLoRA(folder, model),
      /expected the file with the adapter's matrices but got none/,
    );
    assertSame(await scores(model), base);
  }));
