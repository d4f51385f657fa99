/**
 * Models out of GGUF files and into them.
 *
 * @module
 */
import type { ChatTemplate } from "../data/chat_format.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import {
  type GgmlType,
  GgufFile,
  type GgufTensor,
  type GgufValue,
  type WritableGgmlType,
  writeGguf,
} from "../io/gguf.ts";
import { BLOCK } from "../io/ggml_blocks.ts";
import { shown } from "../io/json_text.ts";
import type { LLaMAConfig } from "../models/llama.ts";
import type { MatrixType } from "../nn/quantize.ts";
import { ggufVocabulary } from "../tokenizer/gguf_vocabulary.ts";
import type { PretrainedTokenizer } from "../tokenizer/tokenizer.ts";
import { type Configured, shapesOf, type Sizes } from "./architecture.ts";
import { ConfigFields } from "./config_fields.ts";
import { GGUF_ARCHITECTURES, type GgufArchitecture, nameInGguf } from "./gguf_architectures.ts";
import type { JsonObject } from "./json_file.ts";
import { ARCHITECTURES, type ModelKind, type ModelKinds } from "./model_kinds.ts";
import { type ReadOptions, readWeights, type WeightLayout } from "./read_weights.ts";
import { architectureOf, floatsOf, withVocabSize } from "./save_model.ts";

/** Whether a path names a GGUF file. */
export function isGguf(path: string | URL): boolean {
  return toPath(path).toLowerCase().endsWith(".gguf");
}

/** The model of a GGUF file; see `loadModel`. */
export async function loadGguf(
  path: string | URL,
  kinds: readonly ModelKind[],
  options: ReadOptions & { readonly ropeLayout?: LLaMAConfig["ropeLayout"] | undefined },
): Promise<Configured<Sizes>> {
  using file = await GgufFile.open(path);
  const { name, stored } = storedArchitecture(file, kinds);
  const read = await stored.readConfig(fieldsOf(file, name), file);
  const config = options.ropeLayout && "ropeLayout" in read
    ? { ...read, ropeLayout: options.ropeLayout }
    : read;
  const layout = layoutOf(stored);
  const files = {
    name: file.name,
    configName: file.name,
    tensors: file.tensors,
    readFloat32: (tensor: string) => file.readFloat32(tensor),
    matrixType: (tensor: string) => MATRIX_TYPES[file.info(tensor).type],
  };
  return await readWeights(ARCHITECTURES[stored.kind], layout, files, config, options);
}

/** Types that are computed with as they are. */
const MATRIX_TYPES: Partial<Record<GgmlType, MatrixType>> = {
  ...{ F16: "f16", Q8_0: "q8_0", Q4_0: "q4_0" },
};

function storedArchitecture(
  file: GgufFile,
  kinds: readonly ModelKind[],
): { name: string; stored: GgufArchitecture<Sizes> } {
  const known = Object.entries(GGUF_ARCHITECTURES).filter(([, { kind }]) => kinds.includes(kind));
  const name = file.metadata.get("general.architecture")?.value;
  const found = known.find(([one]) => one === name);
  if (found) return { name: found[0], stored: found[1] };
  throw new FileFormatError(
    `expected "general.architecture" to be ${
      known.map(([one]) => `"${one}"`).join(" or ")
    } but got ` +
      shown(name),
    { file: file.name },
  );
}

/** The single values under an architecture's own keys. */
function fieldsOf(file: GgufFile, architecture: string): ConfigFields {
  const prefix = `${architecture}.`;
  const fields: JsonObject = {};
  for (const [key, { type, value }] of file.metadata) {
    if (!key.startsWith(prefix)) continue;
    fields[key.slice(prefix.length)] = type === "array"
      ? Array.from(value, String)
      : typeof value === "bigint"
      ? Number(value)
      : value;
  }
  return new ConfigFields(fields, file.name, prefix);
}

function layoutOf(stored: GgufArchitecture<Sizes>): WeightLayout {
  const { arrangement, isIgnored } = stored;
  return { nameInFile: (parameter) => nameInGguf(stored, parameter), arrangement, isIgnored };
}

/** Options of {@linkcode saveGguf}. */
export interface SaveGgufOptions {
  /** The vocabulary that is stored beside the weights, without which llama.cpp takes ids alone. Default: none. */
  readonly tokenizer?: PretrainedTokenizer | undefined;
  /** The template that `loadChatTemplate` returned. Default: none. */
  readonly chatTemplate?: ChatTemplate | undefined;
  /**
   * Type of the matrices; vectors are f32. A matrix whose rows are no multiple of 32 numbers stays f16 where this is
   * `q8_0` or `q4_0`. Default: f32, or the model's f16.
   */
  readonly dtype?: "f32" | "f16" | "bf16" | "q8_0" | "q4_0" | undefined;
  /** How many ids to keep, when the vocabulary was padded: 50,257 of GPT-2's 50,304. Default: all. */
  readonly vocabSize?: number | undefined;
  /** `general.name`. Default: the class of the model. */
  readonly name?: string;
  /** More metadata, or other values. */
  readonly metadata?: Readonly<Record<string, GgufValue>>;
}

/** Types of matrices, and what `general.file_type` is with them. */
const TYPES = {
  f32: { type: "F32", fileType: 0 },
  f16: { type: "F16", fileType: 1 },
  q4_0: { type: "Q4_0", fileType: 2 },
  q8_0: { type: "Q8_0", fileType: 7 },
  bf16: { type: "BF16", fileType: 32 },
} as const satisfies Record<string, { type: WritableGgmlType; fileType: number }>;

/**
 * Writes a LLaMA or a GPT-2 as a GGUF file, which llama.cpp reads, one tensor in memory at a time; quantised as llama.cpp's
 * reference functions do it. The file appears whole or not at all. Needs `--allow-read` and `--allow-write` for its
 * folder.
 *
 * @throws {TypeError} for another model
 * @throws {RangeError} when `vocabSize` is not within the model's, the tokenizer has more ids of text than the model, or a
 * number is too large for `f16`
 * @throws {FileWriteError} where the disk is full or the folder is not there
 *
 * @example
 * ```ts
 * import { CpuDevice, LLaMA, loadModel, saveGguf } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { maxPositionEmbeddings: 8, hiddenSize: 32, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const path = await Deno.makeTempFile({ suffix: ".gguf" });
 * await saveGguf(path, new LLaMA({ vocabSize: 10, ...sizes }, { device }), { dtype: "q8_0" });
 * const model = await loadModel(path, { device });
 * assert.equal(model.config.hiddenSize, 32);
 * await Deno.remove(path);
 * ```
 */
export async function saveGguf(
  path: string | URL,
  model: ModelKinds[ModelKind],
  options?: SaveGgufOptions,
): Promise<void> {
  const architecture = architectureOf(model);
  const kindsOf = ({ kind, others = [] }: GgufArchitecture<Sizes>) => [kind, ...others];
  const found = Object.entries(GGUF_ARCHITECTURES).find(([, stored]) =>
    kindsOf(stored).some((kind) => ARCHITECTURES[kind] === architecture)
  );
  if (!found) {
    const kinds = Object.values(GGUF_ARCHITECTURES).flatMap(kindsOf)
      .map((kind) => ARCHITECTURES[kind].model.name);
    throw new TypeError(
      `saveGguf: expected one of ${kinds.join(", ")} but got ${model.constructor.name}`,
    );
  }
  const [name, stored] = found;
  const parameters = model.parameters();
  const [first] = parameters.values();
  const { dtype = first!.dtype === "f16" ? "f16" : "f32", tokenizer } = options ?? {};
  const config = withVocabSize(model.config, options?.vocabSize);
  const tensors = [...shapesOf(architecture, config)].map(([parameter, shape]): GgufTensor => {
    const { nameInFile, arrangement } = layoutOf(stored);
    const name = nameInFile(parameter);
    const type = shape.length < 2 ? "F32" : typeOf(dtype, shape.at(-1)!);
    const wanted = type === "F16" ? "f16" : "f32"; // quantised numbers are read as f32
    const data = () =>
      floatsOf(name, parameters.get(parameter)!, shape, arrangement(parameter, config), wanted);
    return { name, type, shape, data };
  });
  for (const { name, values } of stored.computed?.(config) ?? []) {
    tensors.push({ name, type: "F32", shape: [values.length], data: values });
  }
  const own = Object.entries(stored.metadata(config)).map(([key, value]) =>
    [`${name}.${key}`, value] as const
  );
  await writeGguf(path, [
    ["general.architecture", { type: "string", value: name }],
    ["general.name", {
      type: "string",
      value: options?.name ?? stored.name ?? model.constructor.name,
    }],
    ["general.file_type", { type: "u32", value: TYPES[dtype].fileType }],
    ["general.quantization_version", { type: "u32", value: 2 }],
    ...own,
    ...tokenizer ? ggufVocabulary(tokenizer, config.vocabSize!) : NO_VOCABULARY,
    ...chatTemplateOf(options?.chatTemplate),
    ...Object.entries(options?.metadata ?? {}),
  ], tensors);
}

function chatTemplateOf({ jinja }: Partial<ChatTemplate> = {}): [string, GgufValue][] {
  return jinja ? [["tokenizer.chat_template", { type: "string", value: jinja.source }]] : [];
}

/** With this llama.cpp loads a model without tokens. */
const NO_VOCABULARY: readonly (readonly [string, GgufValue])[] = [
  ["tokenizer.ggml.model", { type: "string", value: "no_vocab" }],
];

function typeOf(dtype: keyof typeof TYPES, columns: number): WritableGgmlType {
  const isQuantised = dtype === "q8_0" || dtype === "q4_0";
  return isQuantised && columns % BLOCK !== 0 ? "F16" : TYPES[dtype].type;
}
