/**
 * Models out of folders of Hugging Face's layout, and from the hub.
 *
 * @module
 */
import { DownloadError } from "../hub/http.ts";
import { join } from "../io/node_builtins.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import type { LLaMAConfig } from "../models/llama.ts";
import type { ParameterOptions } from "../nn/init.ts";
import { assignFloats, checkStateDict } from "../nn/state_dict.ts";
import type { Shape } from "../tensor/shape.ts";
import { type Configured, shapesOf, type Sizes } from "./architecture.ts";
import { ConfigFields } from "./config_fields.ts";
import { downloadModel, type ModelHubOptions, type ModelPart } from "./download_model.ts";
import { readJsonObject } from "./json_file.ts";
import {
  type AnyArchitecture,
  ARCHITECTURES,
  type LanguageModelKind,
  type ModelKind,
  type ModelKinds,
} from "./model_kinds.ts";
import { fromStored, storedShape } from "./stored_tensor.ts";
import { WeightFiles } from "./weight_files.ts";

/** Options of {@linkcode loadModel}. */
export interface LoadModelOptions<K extends ModelKind = LanguageModelKind>
  extends Pick<ParameterOptions, "device" | "dtype">, ModelHubOptions {
  /** The kinds that will do. Default: the language models. */
  readonly kinds?: readonly K[];
  /**
   * Number of ids of the model, when it shall be larger than the file's for speed: 50,304 for GPT-2's 50,257. Each
   * row that is added is the mean of the others, so that none of these ids is ever likelier than one of V. Default:
   * the file's.
   */
  readonly vocabSize?: number | undefined;
  /**
   * Order of the rotary pairs in LLaMA's heads. In `interleaved` the rows of queries and keys are moved, which
   * changes no result. Default: `half-split`, as in the files.
   */
  readonly ropeLayout?: LLaMAConfig["ropeLayout"];
}

/** Numbers that a model may compute beyond those in its files. */
const SPARE_NUMBERS = 1 << 20;
/** Writes to a GPU wait in memory until something is done; after so many bytes they are sent off. */
const WRITES_UNSENT = 256 * 2 ** 20;

/**
 * The model of a folder in Hugging Face's layout, as {@linkcode saveModel} and `transformers` write it: `config.json` and
 * `model.safetensors`, or several such files with their index; of F32, F16 or BF16, converted to `dtype`. They go to the
 * device one tensor at a time. Of scaled positions (`rope_scaling`) it knows LLaMA 3.1's and linear ones, and refuses
 * others.
 *
 * `from` is a folder, or the name of a model on the hub, which is first downloaded into a cache (see
 * {@linkcode downloadModel}). A name that is also a folder is the folder. Needs `--allow-read` for the folder, and
 * for a download `--allow-write` for the cache, `--allow-net` and `--allow-env`.
 *
 * The model drops as its configuration says (`resid_pdrop`) when training goes on, but never attention weights.
 *
 * @throws {FileFormatError} where a file is missing, cut short or foreign, or the configuration is of a model that is not
 * among `kinds`, or asks for what this library does not compute
 * @throws {TypeError} that lists the tensors that are missing, unknown or of another shape
 * @throws {DownloadError} where the hub refuses, or what came is not what it promised
 *
 * @example GPT-2 from the hub
 * ```ts ignore
 * import { loadModel } from "@dinograd/dinograd";
 *
 * const model = await loadModel("openai-community/gpt2");
 * ```
 *
 * @example From a folder
 * ```ts
 * import { CpuDevice, GPT2, loadModel, saveModel } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const config = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const folder = await Deno.makeTempDir();
 * await saveModel(folder, new GPT2(config, { device }));
 * const model = await loadModel(folder, { device, vocabSize: 16, kinds: ["gpt2"] });
 * assert.equal(model.config.vocabSize, 16);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function loadModel<K extends ModelKind = LanguageModelKind>(
  from: string | URL,
  options?: LoadModelOptions<K>,
): Promise<ModelKinds[K]> {
  const { kinds = LANGUAGE_MODELS, ropeLayout = "half-split" } = options ?? {};
  const folder = await modelFolder(from, "model", options);
  const file = join(folder, "config.json");
  const json = await readJsonObject(file);
  if (!json) {
    throw new FileFormatError("expected the file that says what model this is but got none", {
      file,
    });
  }
  const fields = new ConfigFields(json, file);
  const kind = fields.oneOf<ModelKind>("model_type", ...kinds);
  const architecture = ARCHITECTURES[kind];
  const config = architecture.readConfig(fields);
  const layout = kind === "llama" ? { ropeLayout } : {};
  return await load(architecture, folder, { ...config, ...layout }, options ?? {}) as ModelKinds[K];
}

const LANGUAGE_MODELS: readonly LanguageModelKind[] = ["gpt2", "gpt3", "llama", "modern_gpt"];

/** The folder that is named, else the one into which `part` of the model of that name on the hub was downloaded. */
export async function modelFolder(
  from: string | URL,
  part: ModelPart,
  options?: ModelHubOptions,
): Promise<string> {
  if (await isFolder(from)) return toPath(from);
  try {
    return await downloadModel(String(from), { ...options, parts: [part] });
  } catch (error) {
    const isRefused = error instanceof DownloadError && (error.cause ?? error.status) !== undefined;
    if (isRefused) error.message += `; nor is there a folder ${from}`;
    throw error;
  }
}

/** Whether a string or URL leads to a folder; a string that names a path but leads nowhere throws. */
async function isFolder(from: string | URL): Promise<boolean> {
  const path = toPath(from);
  try {
    if ((await Deno.stat(path)).isDirectory) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // The hub's names have no dot at their beginning and one slash at most.
  if (typeof from === "string" && /^\w[\w.-]*(\/\w[\w.-]*)?$/.test(from)) return false;
  throw new FileFormatError("expected a folder or the name of a model but got neither", {
    file: path,
  });
}

async function load(
  architecture: AnyArchitecture,
  folder: string,
  config: Sizes,
  options: LoadModelOptions<ModelKind>,
): Promise<Configured<Sizes>> {
  const { device, dtype, vocabSize } = options;
  const least = config.vocabSize ?? Infinity;
  if (vocabSize !== undefined && !(Number.isSafeInteger(vocabSize) && vocabSize >= least)) {
    throw new RangeError(
      `loadModel: expected a vocabSize of ${least} or more but got ${vocabSize}`,
    );
  }
  const sizes = vocabSize === undefined ? config : { ...config, vocabSize };
  using files = await WeightFiles.open(folder);
  // No memory is taken before the files are known to hold all that the configuration asks for.
  const stored = checkTensors(architecture, config, folder, files);
  const model = new architecture.model(sizes, { device, dtype, random: null });
  try {
    let unsent = 0;
    for (const [name, parameter] of model.parameters()) {
      const { nameInFile, modelShape } = stored.get(name)!;
      const read = await files.readFloat32(nameInFile);
      const values = fromStored(read, modelShape, architecture.arrangement(name, config));
      // A larger vocabulary than the file's has more rows.
      const all = values.length < parameter.size
        ? withMeanRows(values, parameter.shape[1]!, parameter.size)
        : values;
      assignFloats(parameter, all);
      unsent += all.byteLength;
      if (unsent < WRITES_UNSENT) continue;
      await model.device.synchronize();
      unsent = 0;
    }
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Where a parameter is in the files. */
interface Stored {
  /** Its name there. */
  readonly nameInFile: string;
  /** Its shape in a model with the files' vocabulary. */
  readonly modelShape: Shape;
}

/** The model's parameters by their names; throws when one is missing, unknown or of another shape in the files. */
function checkTensors(
  architecture: AnyArchitecture,
  config: Sizes,
  folder: string,
  files: WeightFiles,
): Map<string, Stored> {
  const { isIgnored, arrangement, prefix } = architecture;
  const found = [...files.tensors.keys()];
  if (config.numHiddenLayers > found.length) {
    throw new FileFormatError(
      `expected the tensors of ${config.numHiddenLayers} layers but got ${found.length}`,
      { file: files.name },
    );
  }
  checkTables(architecture.tableSize?.(config) ?? 0, folder, files);
  const hasPrefix = found.some((name) => prefix && name.startsWith(prefix));
  const stored = new Map<string, Stored>();
  const wanted = new Map<string, { shape: Shape }>();
  for (const [name, modelShape] of checkedShapes(architecture, config, folder)) {
    const nameInFile = hasPrefix ? prefix + name : name;
    stored.set(name, { nameInFile, modelShape });
    wanted.set(nameInFile, { shape: storedShape(modelShape, arrangement(name, config)) });
  }
  const given = new Map(files.tensors);
  for (const name of found) {
    const ours = hasPrefix && name.startsWith(prefix) ? name.slice(prefix.length) : name;
    if (!wanted.has(name) && isIgnored(ours, config)) given.delete(name);
  }
  checkStateDict(wanted, given, files.name);
  return stored;
}

/** A table of positions is computed, and would take as much memory as a few digits ask for. */
function checkTables(size: number, folder: string, files: WeightFiles): void {
  const stored = files.tensors.values().reduce((sum, { count }) => sum + count, 0);
  if (size <= 4 * stored + SPARE_NUMBERS) return;
  throw new FileFormatError(
    `expected "max_position_embeddings" of ${stored} numbers, as the weights have, but got ${size}`,
    { file: join(folder, "config.json") },
  );
}

function checkedShapes(
  architecture: AnyArchitecture,
  config: Sizes,
  folder: string,
): Map<string, Shape> {
  try {
    return shapesOf(architecture, config);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new FileFormatError(
      `expected "model_type" and sizes that make a model: ${cause.message}`,
      {
        file: join(folder, "config.json"),
        cause,
      },
    );
  }
}

/** Rows of a matrix, and after them their mean, until it has `size` elements. */
function withMeanRows(values: Float32Array, width: number, size: number): Float32Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < values.length; i++) sums[i % width]! += values[i]!;
  const rows = values.length / width;
  const mean = Float32Array.from(sums, (sum) => sum / rows);
  const longer = new Float32Array(size);
  longer.set(values);
  for (let at = values.length; at < size; at += width) longer.set(mean, at);
  return longer;
}
