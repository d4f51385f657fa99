/**
 * Low-rank adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.
 *
 * @module
 */
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import { join } from "../io/node_builtins.ts";
import { SafetensorsFile, type TensorEntry, writeSafetensors } from "../io/safetensors.ts";
import {
  adaptableLayers,
  applyLoRA,
  type FullLoRAConfig,
  type LoRA,
  type LoRAOptions,
} from "../nn/lora.ts";
import type { Module } from "../nn/module.ts";
import { assignFloats, checkStateDict } from "../nn/state_dict.ts";
import type { Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Configured, Sizes } from "./architecture.ts";
import { ConfigFields } from "./config_fields.ts";
import { readJsonObject, writeJson } from "./json_file.ts";
import { ARCHITECTURES } from "./model_kinds.ts";
import { type Arrangement, fromStored, toStored } from "./stored_tensor.ts";

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
/** The prefix of PEFT's tensor names. */
const PREFIX = "base_model.model.";

/** Options of {@linkcode saveLoRA}. */
export interface SaveLoRAOptions {
  /** The model that the adapter is for: its folder or its name on the hub. Default: unspecified. */
  readonly baseModel?: string | undefined;
}

/**
 * Saves an adapter to a folder in the format of `peft` (`PeftModel.from_pretrained(model, folder)`), for our GPT-2 and
 * LLaMA; adapters of other modules use the modules' paths. The folder holds A, B and the configuration, but not the
 * model. Needs `--allow-read` and `--allow-write` for the folder.
 *
 * @throws {FileWriteError} where the disk is full
 *
 * @example
 * ```ts
 * import { applyLoRA, CpuDevice, GPT2, loadLoRA, saveLoRA } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * using model = new GPT2(sizes, { device });
 * const folder = await Deno.makeTempDir();
 * await saveLoRA(folder, applyLoRA(model, { r: 4 }));
 * const second = await loadLoRA(folder, model); // a second adapter of the same model
 * assert.equal(second.config.r, 4);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function saveLoRA(
  folder: string | URL,
  adapter: LoRA,
  options?: SaveLoRAOptions,
): Promise<void> {
  const { prefix, arrangementOf, isTransposed } = layoutOf(adapter.base);
  const entries = [...adapter.parameters()].map(([name, parameter]): TensorEntry => ({
    name: PREFIX + prefix + name,
    dtype: parameter.dtype === "f16" ? "F16" : "F32",
    shape: parameter.shape,
    data: () => storedValues(parameter, arrangementOf(name)),
  }));
  const { r, loraAlpha, targetModules, loraDropout, useRslora } = adapter.config;
  const path = toPath(folder);
  await Deno.mkdir(path, { recursive: true });
  await writeSafetensors(join(path, WEIGHTS), entries, { format: "pt" });
  await writeJson(join(path, CONFIG), {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: options?.baseModel ?? null,
    r,
    lora_alpha: loraAlpha,
    lora_dropout: loraDropout,
    use_rslora: useRslora,
    target_modules: targetModules,
    fan_in_fan_out: adapter.modules().keys().some(isTransposed), // transposed in the base model; A and B never are
    bias: "none",
    inference_mode: true,
  });
}

/**
 * Loads an adapter in PEFT's layout, as written by {@linkcode saveLoRA} and `peft`, into a model, in addition to those
 * it already has; the base model is unchanged. F32, F16 and BF16 are converted to the type of the weights, or to
 * `dtype`. Needs `--allow-read`.
 *
 * @throws {FileFormatError} where a file is missing, cut short or foreign, or asks for what this library does not
 * compute (trained biases, DoRA, ranks of their own)
 * @throws {TypeError} where layers or shapes are not those of the model
 */
export async function loadLoRA(
  folder: string | URL,
  model: Module,
  options?: Pick<LoRAOptions, "dtype">,
): Promise<LoRA> {
  const path = toPath(folder);
  const config = await readConfig(join(path, CONFIG));
  using file = await openWeights(join(path, WEIGHTS));
  const { prefix, arrangementOf } = layoutOf(model);
  const names = namesOf(file, join(path, WEIGHTS), prefix);
  const targetModules = [...new Set([...names.keys()].map((name) => name.slice(0, -LENGTH)))];
  // No memory is allocated before the file is known to hold what the configuration asks for.
  checkStateDict(
    shapesOf(model, targetModules, config.r, join(path, WEIGHTS)),
    new Map([...names].map(([name, nameInFile]) => [name, file.info(nameInFile)])),
    join(path, WEIGHTS),
  );
  const adapter = applyLoRA(model, { ...options, ...config, targetModules, random: null });
  try {
    for (const [name, parameter] of adapter.parameters()) {
      const values = await file.readFloat32(names.get(name)!);
      assignFloats(parameter, fromStored(values, parameter.shape, arrangementOf(name)));
    }
    return adapter;
  } catch (error) {
    adapter.dispose();
    throw error;
  }
}

async function openWeights(file: string): Promise<SafetensorsFile> {
  try {
    return await SafetensorsFile.open(file);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new FileFormatError("expected the file with the adapter's matrices but got none", {
      file,
      cause,
    });
  }
}

const LENGTH = ".lora_A.weight".length;

/** Maps the names of the adapter's parameters to the names in the file. */
function namesOf(file: SafetensorsFile, path: string, prefix: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const name of file.tensors.keys()) {
    const start = name.startsWith(PREFIX + prefix) ? PREFIX + prefix : PREFIX;
    const own = name.slice(start.length);
    if (!name.startsWith(start) || !/\.lora_[AB]\.weight$/.test(own)) {
      throw new FileFormatError(`expected the matrices of a LoRA adapter but got ${shown(name)}`, {
        file: path,
      });
    }
    names.set(own, name);
  }
  return names;
}

/** Returns the shapes of the matrices of the given layers. */
function shapesOf(
  model: Module,
  targets: readonly string[],
  r: number,
  file: string,
): Map<string, { shape: Shape }> {
  const layers = adaptableLayers(model);
  const shapes = new Map<string, { shape: Shape }>();
  for (const target of targets) {
    const [outputs, inputs] = layers.get(target)?.weight.shape ?? [];
    if (outputs === undefined || inputs === undefined) {
      throw new FileFormatError(
        `expected matrices of the model's linear layers but got those of ${shown(target)}`,
        { file },
      );
    }
    shapes.set(`${target}.lora_A.weight`, { shape: [r, inputs] });
    shapes.set(`${target}.lora_B.weight`, { shape: [outputs, r] });
  }
  return shapes;
}

/** Fields of other kinds of adapters, and of parts that are treated differently from the rest. */
const VARIANTS = ["use_dora", "lora_bias", "use_qalora", "use_bdlora"];
const PARTICULARS = [
  ...["modules_to_save", "rank_pattern", "alpha_pattern", "target_parameters"],
  ...["layer_replication", "trainable_token_indices", "alora_invocation_tokens"],
];

async function readConfig(file: string): Promise<Omit<FullLoRAConfig, "targetModules">> {
  const json = await readJsonObject(file);
  if (!json) {
    throw new FileFormatError("expected the file that says what adapter this is but got none", {
      file,
    });
  }
  const fields = new ConfigFields(json, file);
  fields.oneOf("peft_type", "LORA");
  fields.expect("bias", "none");
  for (const name of VARIANTS) fields.expect(name, false);
  for (const name of PARTICULARS) {
    const value = fields.get(name);
    if (value && Object.keys(value).length > 0) fields.refuse(name, "empty");
  }
  return {
    r: fields.size("r"),
    loraAlpha: fields.positive("lora_alpha"),
    loraDropout: fields.probability("lora_dropout", 0),
    useRslora: fields.flag("use_rslora", false),
  };
}

/** How files store the matrices of a model's adapter. */
interface Layout {
  /** The prefix of the names of the model's parameters. */
  readonly prefix: string;
  /** Returns how the rows of a parameter of the adapter are arranged. */
  readonly arrangementOf: (name: string) => Arrangement | undefined;
  /** Whether the weight of the layer at a path is transposed in the model's own files. */
  readonly isTransposed: (path: string) => boolean;
}

function layoutOf(model: Module): Layout {
  const architecture = Object.values(ARCHITECTURES).find((one) => model.constructor === one.model);
  if (!architecture) {
    return { prefix: "", arrangementOf: () => undefined, isTransposed: () => false };
  }
  const { config } = model as Configured<Sizes>;
  const ofWeight = (path: string) => architecture.arrangement(`${path}.weight`, config);
  return {
    prefix: architecture.prefix,
    // B has the rows of the weight; neither matrix is ever transposed.
    arrangementOf: (name) => {
      const arrangement = name.endsWith(".lora_B.weight")
        ? ofWeight(name.slice(0, -LENGTH))
        : undefined;
      return arrangement === "transposed" ? undefined : arrangement;
    },
    isTransposed: (path) => ofWeight(path) === "transposed",
  };
}

async function storedValues(
  parameter: Tensor,
  arrangement: Arrangement | undefined,
): Promise<Float32Array | Float16Array> {
  const values = await parameter.data() as Float32Array | Float16Array;
  if (arrangement === undefined) return values;
  const moved = toStored(new Float32Array(values), parameter.shape, arrangement);
  return values instanceof Float16Array ? new Float16Array(moved) : moved;
}
