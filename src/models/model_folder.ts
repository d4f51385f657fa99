/**
 * A model as a folder: `model.json` says what it is and how large, `model.safetensors` holds its parameters.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { writeFileAtomically } from "../io/atomic_file.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { parseJson, shown } from "../io/json_text.ts";
import { SafetensorsFile } from "../io/safetensors.ts";
import type { ParameterOptions } from "../nn/init.ts";
import { BytePairTokenizer } from "../tokenizer/byte_pair_tokenizer.ts";
import { GPT2 } from "./gpt2.ts";
import { GPT3 } from "./gpt3.ts";
import { LLaMA } from "./llama.ts";
import { Transformer } from "./transformer.ts";

/** The models that a folder can hold, by the names that `model.json` gives them. */
export interface ModelKinds {
  /** GPT-2. */
  gpt2: GPT2;
  /** GPT-3. */
  gpt3: GPT3;
  /** LLaMA 1, 2 and 3, which differ in their configuration. */
  llama: LLaMA;
  /** The encoder-decoder Transformer. */
  transformer: Transformer;
}

/** A name that `model.json` gives a model. */
export type ModelKind = keyof ModelKinds;

/** The kinds that continue a text. */
export type LanguageModelKind = Exclude<ModelKind, "transformer">;

const CLASSES = { gpt2: GPT2, gpt3: GPT3, llama: LLaMA, transformer: Transformer } as const;

/** What has to stand in the configuration of each kind; the rest has defaults. */
const STACK_SIZES = ["hiddenSize", "numHiddenLayers", "numAttentionHeads"] as const;
const SIZES = ["vocabSize", "maxPositionEmbeddings", ...STACK_SIZES] as const;
const REQUIRED: Record<ModelKind, readonly string[]> = {
  gpt2: SIZES,
  gpt3: SIZES,
  llama: SIZES,
  transformer: ["sourceVocabSize", "targetVocabSize", ...STACK_SIZES],
};

/** Sizes that have defaults. */
const OPTIONAL = [
  ...["maxPositionEmbeddings", "intermediateSize", "numKeyValueHeads", "localBlockSize"],
] as const;
/** Numbers that a model may have beyond those in its file before it is even built to be compared with it. */
const SPARE_NUMBERS = 1 << 20;

const CONFIG = "model.json";
const PARAMETERS = "model.safetensors";
const TOKENIZER = "tokenizer.json";

/** Options of {@linkcode loadModel}. */
export interface LoadModelOptions<K extends ModelKind = ModelKind>
  extends Pick<ParameterOptions, "device" | "dtype"> {
  /** The kinds that will do. Default: all. */
  readonly kinds?: readonly K[];
}

/** A language model and the tokenizer it was trained with. */
export interface LoadedLanguageModel {
  /** The model. */
  readonly model: ModelKinds[LanguageModelKind];
  /** Its tokenizer. */
  readonly tokenizer: BytePairTokenizer;
}

/**
 * Writes a model into a folder, which is made where it is missing; a model that was there before is replaced. Each
 * file appears whole or not at all. Needs `--allow-write` (and `--allow-read`) for the folder.
 *
 * @throws {TypeError} for a model of another library
 *
 * @example Save a model and load it again
 * ```ts
 * import { CpuDevice, GPT2, loadModel, saveModel } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const config = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const folder = await Deno.makeTempDir();
 * await saveModel(folder, new GPT2(config, { device }));
 * const model = await loadModel(folder, { device });
 * assert(model instanceof GPT2);
 * assert.equal(model.config.vocabSize, 10);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function saveModel(
  folder: string | URL,
  model: ModelKinds[ModelKind],
): Promise<void> {
  const path = toPath(folder);
  const json = JSON.stringify({ model: kindOf(model), config: model.config }, null, 2);
  await Deno.mkdir(path, { recursive: true });
  await model.saveWeights(join(path, PARAMETERS));
  await writeFileAtomically(
    join(path, CONFIG),
    (file) => file.write(new TextEncoder().encode(json + "\n")),
  );
}

/**
 * Builds the model of a folder and reads its parameters. Needs `--allow-read` for the folder.
 *
 * @throws {FileFormatError} where a file is missing, cut short or foreign, the kind is not known or not among
 * `kinds`, or the configuration makes no model
 * @throws {TypeError} where the parameters are not those of the configuration
 */
export async function loadModel<K extends ModelKind = ModelKind>(
  folder: string | URL,
  options: LoadModelOptions<K> = {},
): Promise<ModelKinds[K]> {
  const { kinds = Object.keys(CLASSES) as K[], device, dtype } = options;
  const file = join(toPath(folder), CONFIG);
  const { kind, config } = await readConfig(file, kinds);
  let model: ModelKinds[ModelKind] | undefined;
  try {
    await checkSizes(file, kind, config, join(toPath(folder), PARAMETERS));
    model = build(file, kind, config, { device, dtype, random: null });
    await model.loadWeights(join(toPath(folder), PARAMETERS));
  } catch (error) {
    model?.dispose();
    throw error instanceof Deno.errors.NotFound ? missing(folder, PARAMETERS, error) : error;
  }
  return model as ModelKinds[K];
}

/**
 * Loads the language model of a folder with its tokenizer, `tokenizer.json`. Throws as {@linkcode loadModel}
 * does, a `TokenizerFormatError` for a file that holds no tokenizer, and a `TypeError` for the tokenizer of another
 * model.
 */
export async function loadLanguageModel(
  folder: string | URL,
  options: Omit<LoadModelOptions, "kinds"> = {},
): Promise<LoadedLanguageModel> {
  const kinds = Object.keys(CLASSES).filter((kind) => kind !== "transformer");
  const path = join(toPath(folder), TOKENIZER);
  const model = await loadModel(folder, { ...options, kinds: kinds as LanguageModelKind[] });
  try {
    const tokenizer = await BytePairTokenizer.load(path);
    checkVocabSize(path, tokenizer.vocabSize, model.config.vocabSize);
    return { model, tokenizer };
  } catch (error) {
    model.dispose();
    throw error instanceof Deno.errors.NotFound ? missing(folder, TOKENIZER, error) : error;
  }
}

/** Throws a `TypeError` unless the vocabulary in a file has as many ids as the model has scores. */
export function checkVocabSize(file: string | URL, found: number, expected: number): void {
  if (found === expected) return;
  throw new TypeError(
    `${file}: is not the vocabulary of this model: it has ${found} ids, expected ${expected}`,
  );
}

/** The name of a model's kind. */
function kindOf(model: ModelKinds[ModelKind]): ModelKind {
  for (const [kind, type] of Object.entries(CLASSES)) {
    if (model.constructor === type) return kind as ModelKind;
  }
  throw new TypeError(`saveModel: ${model.constructor.name} is none of ${known()}`);
}

async function readConfig(
  file: string,
  kinds: readonly ModelKind[],
): Promise<{ kind: ModelKind; config: Record<string, unknown> }> {
  const refuse = (message: string, cause?: unknown): never => {
    throw new FileFormatError(message, { file, cause });
  };
  let value: { model?: unknown; config?: unknown } | null;
  try {
    value = parseJson(await Deno.readTextFile(file)) as typeof value;
  } catch (error) {
    if (error instanceof SyntaxError) refuse(`is not JSON: ${error.message}`, error);
    throw error instanceof Deno.errors.NotFound ? missing(dirname(file), CONFIG, error) : error;
  }
  const { model, config } = value ?? {};
  if (typeof model !== "string" || typeof config !== "object" || config === null) {
    return refuse(`describes no model: expected "model", a name, and "config", an object`);
  }
  if (!Object.hasOwn(CLASSES, model)) {
    refuse(`has a model of the kind ${shown(model)}, expected one of ${known()}`);
  }
  const kind = model as ModelKind;
  if (!kinds.includes(kind)) refuse(`has a ${kind}, expected ${kinds.join(" or ")}`);
  for (const name of REQUIRED[kind]) {
    const size = (config as Record<string, unknown>)[name];
    if (!Number.isSafeInteger(size) || (size as number) < 1) {
      refuse(`expected "${name}" to be an integer above 0 but got ${shown(size)}`);
    }
  }
  for (const name of OPTIONAL) {
    const size = (config as Record<string, unknown>)[name];
    if (size === undefined || (Number.isSafeInteger(size) && (size as number) >= 1)) continue;
    refuse(`expected "${name}" to be an integer above 0 but got ${shown(size)}`);
  }
  return { kind, config: config as Record<string, unknown> };
}

/**
 * Throws where the configuration speaks of far more numbers than there are: a model has to be built before its
 * parameters can be compared with the file's, and would take as much memory as a few digits ask for.
 */
async function checkSizes(
  file: string,
  kind: ModelKind,
  config: Record<string, unknown>,
  parameters: string,
): Promise<void> {
  using tensors = await SafetensorsFile.open(parameters);
  const found = tensors.tensors.values().reduce((sum, { count }) => sum + count, 0);
  const size = (name: string) => (config[name] ?? 0) as number;
  const [width, layers] = [size("hiddenSize"), size("numHiddenLayers")];
  const matrices = ["vocabSize", "sourceVocabSize", "targetVocabSize"];
  if (kind !== "llama") matrices.push("maxPositionEmbeddings"); // LLaMA has no matrix of positions
  const claims: [string, number][] = [
    ...matrices.map((name): [string, number] => [name, size(name) * width]),
    ["numHiddenLayers and hiddenSize", layers * width ** 2],
    ["numHiddenLayers and intermediateSize", layers * width * size("intermediateSize")],
  ];
  const wrong = claims.find(([, numbers]) => numbers > 4 * found + SPARE_NUMBERS);
  if (wrong !== undefined) {
    const [name, numbers] = wrong;
    throw new FileFormatError(
      `speaks of ${numbers} numbers by its "${name}", but "${PARAMETERS}" has ${found}`,
      { file },
    );
  }
  if (layers > tensors.tensors.size) {
    throw new FileFormatError(
      `has "numHiddenLayers" of ${layers}, but "${PARAMETERS}" has ${tensors.tensors.size} tensors`,
      { file },
    );
  }
}

function build(
  file: string,
  kind: ModelKind,
  config: Record<string, unknown>,
  options: ParameterOptions,
): ModelKinds[ModelKind] {
  try {
    return new CLASSES[kind](config as never, options);
  } catch (error) {
    // Only what stands in the file is the file's fault.
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw new FileFormatError(`has a "config" that makes no model: ${error.message}`, {
      file,
      cause: error,
    });
  }
}

function missing(folder: string | URL, name: string, cause: unknown): FileFormatError {
  const file = join(toPath(folder), name);
  return new FileFormatError(
    `is not there; a model's folder has ${CONFIG}, ${PARAMETERS} and its vocabulary`,
    { file, cause },
  );
}

function known(): string {
  return Object.keys(CLASSES).join(", ");
}
