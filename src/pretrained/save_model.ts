/**
 * Saves models to folders in Hugging Face's layout.
 *
 * @module
 */
import { join } from "../io/node_builtins.ts";
import { isQuantised } from "../device/dtype.ts";
import type { ChatTemplate } from "../data/chat_format.ts";
import { toPath } from "../io/byte_source.ts";
import {
  float32ToBfloat16,
  type TensorData,
  type TensorEntry,
  writeSafetensors,
} from "../io/safetensors.ts";
import { checkWithinHalf } from "../nn/state_dict.ts";
import type { Shape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { fitsVocabulary, type PretrainedTokenizer } from "../tokenizer/tokenizer.ts";
import { shapesOf, type Sizes } from "./architecture.ts";
import { CHAT_TEMPLATE_FILES } from "./download_model.ts";
import { writeJson } from "./json_file.ts";
import {
  type AnyArchitecture,
  ARCHITECTURES,
  type ModelKind,
  type ModelKinds,
} from "./model_kinds.ts";
import { type Arrangement, storedShape, toStored } from "./stored_tensor.ts";
import { CONFIG, WEIGHTS, WEIGHTS_INDEX } from "./weight_files.ts";

/** Options of {@linkcode saveModel}. */
export interface SaveModelOptions {
  /**
   * Writes `tokenizer.json` into the folder, such as the tokenizer that `loadTokenizer` returned. Default: no such
   * file.
   */
  readonly tokenizer?: PretrainedTokenizer | undefined;
  /**
   * Writes `tokenizer_config.json` with the template that `loadChatTemplate` returned, unless it is the plain one.
   * Default: the folder keeps what it has.
   */
  readonly chatTemplate?: ChatTemplate | undefined;
  /** The element type in the file. Default: the model's, or f32 if it is quantised. */
  readonly dtype?: "f32" | "f16" | "bf16" | undefined;
  /** The number of ids to keep, if the vocabulary was padded: 50,257 of GPT-2's 50,304. Default: all. */
  readonly vocabSize?: number | undefined;
  /** The maximum size of a file in bytes, unless a single tensor is larger. Default: 5e9, as in `transformers`. */
  readonly maxShardBytes?: number;
  /** Additional or overriding fields for `config.json`, such as `{ eos_token_id: 50256 }`. */
  readonly config?: Readonly<Record<string, unknown>>;
}

const STORED = {
  f32: { type: "F32", bytes: 4, torch: "float32" },
  f16: { type: "F16", bytes: 2, torch: "float16" },
  bf16: { type: "BF16", bytes: 2, torch: "bfloat16" },
} as const;
type StoredType = keyof typeof STORED;

/**
 * Saves a model to a folder in Hugging Face's layout: `config.json`, `model.safetensors` (or several such files with
 * their index if it is large) and `tokenizer.json`. `AutoModelForCausalLM.from_pretrained(folder)` of `transformers`
 * loads it; GPT-3, ModernGPT and the Transformer, which `transformers` lacks, are laid out in the same way. The folder
 * is created if it is missing; a model in it is replaced. Each file appears whole or not at all, and one tensor is in
 * memory at a time. Needs `--allow-read` and `--allow-write` for the folder.
 *
 * @throws {TypeError} for a model that is none of these
 * @throws {RangeError} when `vocabSize` is not within the model's, the tokenizer has more ids, or a number is too large
 * for `f16`
 * @throws {FileWriteError} where the disk is full
 *
 * @example Save a model and load it again
 * ```ts
 * import { BytePairTokenizer, CpuDevice, LLaMA, loadModel, loadTokenizer, saveModel } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 3 });
 * const sizes = { maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const folder = await Deno.makeTempDir();
 * const model = new LLaMA({ vocabSize: tokenizer.vocabSize, ...sizes }, { device });
 * await saveModel(folder, model, { tokenizer, dtype: "bf16" });
 * const loaded = await loadModel(folder, { device });
 * assert(loaded instanceof LLaMA);
 * assert.deepEqual((await loadTokenizer(folder)).encode("slow"), tokenizer.encode("slow"));
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function saveModel(
  folder: string | URL,
  model: ModelKinds[ModelKind],
  options?: SaveModelOptions,
): Promise<void> {
  const architecture = architectureOf(model);
  const parameters = model.parameters();
  const [first] = parameters.values();
  const own = isQuantised(first!.dtype) ? "f32" : first!.dtype as StoredType;
  const { dtype = own, maxShardBytes = 5e9, tokenizer, chatTemplate } = options ?? {};
  if (!(maxShardBytes > 0)) {
    throw new RangeError(`saveModel: expected maxShardBytes above 0 but got ${maxShardBytes}`);
  }
  const config = withVocabSize(model.config, options?.vocabSize);
  if (tokenizer && !fitsVocabulary(tokenizer, config.vocabSize ?? Infinity)) {
    throw new RangeError(
      `saveModel: expected a tokenizer of at most ${config.vocabSize} ids, as the model, but got ` +
        tokenizer.vocabSize,
    );
  }
  const { prefix, arrangement } = architecture;
  const entries = [...shapesOf(architecture, config)].map(([name, shape]) =>
    tensorEntry(prefix + name, parameters.get(name)!, shape, arrangement(name, config), dtype)
  );
  const path = toPath(folder);
  await Deno.mkdir(path, { recursive: true });
  const written = await writeWeights(path, entries, STORED[dtype].bytes, maxShardBytes);
  await removeOtherWeights(path, written);
  await tokenizer?.save(join(path, "tokenizer.json"));
  if (chatTemplate?.jinja) await writeChatTemplate(path, chatTemplate.jinja);
  await writeJson(join(path, CONFIG), {
    architectures: [architecture.className],
    model_type: architecture.modelType,
    ...architecture.configFields(config),
    torch_dtype: STORED[dtype].torch,
    ...options?.config,
  });
}

/** Writes a template where `transformers` and `loadChatTemplate` find it, and removes one that they would prefer. */
async function writeChatTemplate(
  folder: string,
  { source, variables }: NonNullable<ChatTemplate["jinja"]>,
): Promise<void> {
  const [preferred, config] = CHAT_TEMPLATE_FILES.map((name) => join(folder, name));
  await writeJson(config!, {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...variables,
    chat_template: source,
  });
  await Deno.remove(preferred!).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Not by `instanceof`, as a GPT-3 is also a GPT-2. */
export function architectureOf(model: ModelKinds[ModelKind]): AnyArchitecture {
  const found = Object.values(ARCHITECTURES).find((one) => model.constructor === one.model);
  if (found) return found;
  const kinds = [...new Set(Object.values(ARCHITECTURES).map((one) => one.model.name))].join(", ");
  throw new TypeError(`saveModel: expected one of ${kinds} but got ${model.constructor.name}`);
}

/** Returns a configuration with `vocabSize` ids, which the model must have. */
export function withVocabSize(config: Sizes, vocabSize: number | undefined): Sizes {
  if (vocabSize === undefined) return config;
  const most = config.vocabSize ?? 0;
  if (!Number.isSafeInteger(vocabSize) || vocabSize < 1 || vocabSize > most) {
    throw new RangeError(`saveModel: expected a vocabSize of 1 to ${most} but got ${vocabSize}`);
  }
  return { ...config, vocabSize };
}

/** Returns one tensor of the file, read from the device when it is written; its shape excludes padding rows. */
function tensorEntry(
  name: string,
  parameter: Tensor,
  shape: Shape,
  arrangement: Arrangement | undefined,
  dtype: StoredType,
): TensorEntry {
  const data = async (): Promise<TensorData> => {
    const values = await floatsOf(name, parameter, shape, arrangement, dtype);
    if (dtype === "f32") return values;
    return dtype === "bf16" ? float32ToBfloat16(values) : new Float16Array(values);
  };
  return { name, dtype: STORED[dtype].type, shape: storedShape(shape, arrangement), data };
}

/**
 * Returns the values of a parameter as they go into a file, without the padding rows beyond `shape`.
 *
 * @throws {RangeError} for a number that is too large for f16, where that is the `dtype`
 */
export async function floatsOf(
  name: string,
  parameter: Tensor,
  shape: Shape,
  arrangement: Arrangement | undefined,
  dtype: StoredType,
): Promise<Float32Array> {
  const size = shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(await parameter.data()).subarray(0, size);
  if (dtype === "f16") checkWithinHalf("saveModel", name, values);
  return toStored(values, shape, arrangement);
}

/** Writes the tensors into one file or several, and returns the names of the files. */
async function writeWeights(
  folder: string,
  entries: readonly TensorEntry[],
  elementBytes: number,
  maxShardBytes: number,
): Promise<string[]> {
  const shards: TensorEntry[][] = [[]];
  let [shardBytes, totalBytes] = [0, 0];
  for (const entry of entries) {
    const bytes = entry.shape.reduce((a, b) => a * b, 1) * elementBytes;
    if (shardBytes > 0 && shardBytes + bytes > maxShardBytes) {
      shards.push([]);
      shardBytes = 0;
    }
    shards.at(-1)!.push(entry);
    shardBytes += bytes;
    totalBytes += bytes;
  }
  const metadata = { format: "pt" }; // required by transformers
  if (shards.length === 1) {
    await writeSafetensors(join(folder, WEIGHTS), shards[0]!, metadata);
    return [WEIGHTS];
  }
  const weightMap: Record<string, string> = {};
  const digits = (n: number) => String(n).padStart(5, "0");
  for (const [i, shard] of shards.entries()) {
    const name = `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`;
    await writeSafetensors(join(folder, name), shard, metadata);
    for (const entry of shard) weightMap[entry.name] = name;
  }
  await writeJson(join(folder, WEIGHTS_INDEX), {
    metadata: { total_size: totalBytes },
    weight_map: weightMap,
  });
  return [WEIGHTS_INDEX, ...Object.values(weightMap)];
}

/** Removes what is left of a previous model, which a reader would mix up with the new one. */
async function removeOtherWeights(folder: string, written: readonly string[]): Promise<void> {
  const isWeights = /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/;
  for await (const { name } of Deno.readDir(folder)) {
    if (isWeights.test(name) && !written.includes(name)) await Deno.remove(join(folder, name));
  }
}
