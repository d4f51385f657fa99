/**
 * Weights that others trained.
 *
 * @module
 */
import { join } from "node:path";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import type { GPT2 } from "../models/gpt2.ts";
import type { LLaMA, LLaMAConfig } from "../models/llama.ts";
import type { ParameterOptions } from "../nn/init.ts";
import { assignFloats, checkStateDict } from "../nn/state_dict.ts";
import type { Shape } from "../tensor/shape.ts";
import { type Architecture, type Configured, shapesOf, type Sizes } from "./architecture.ts";
import { ConfigFields } from "./config_fields.ts";
import { gpt2Files } from "./gpt2_files.ts";
import { downloadModel, type ModelHubOptions } from "./download_model.ts";
import { readJsonObject } from "./json_file.ts";
import { llamaFiles } from "./llama_files.ts";
import { fromStored, storedShape } from "./stored_tensor.ts";
import { WeightFiles } from "./weight_files.ts";

/** Options of {@linkcode loadPretrained}. */
export interface LoadPretrainedOptions
  extends Pick<ParameterOptions, "device" | "dtype">, ModelHubOptions {
  /**
   * Number of ids of the model, when it shall be larger than the file's for speed: 50,304 for GPT-2's 50,257. Each
   * row that is added is the mean of the others, so that none of these ids is ever likelier than one of V. Default:
   * the file's.
   */
  readonly vocabSize?: number;
  /**
   * Order of the rotary pairs in LLaMA's heads. In `interleaved` the rows of queries and keys are moved, which
   * changes no result. Default: `half-split`, as in the files.
   */
  readonly ropeLayout?: LLaMAConfig["ropeLayout"];
}

/** Writes to a GPU wait in memory until something is done; after so many bytes they are sent off. */
const WRITES_UNSENT = 256 * 2 ** 20;

/**
 * A GPT-2 or LLaMA with weights in Hugging Face's layout: `config.json` and `model.safetensors`, or several such files
 * with their index; of F32, F16 or BF16, converted to `dtype`. They go to the device one tensor at a time. Of scaled
 * positions (`rope_scaling`) it knows LLaMA 3.1's and linear ones, and refuses others.
 *
 * `from` is a folder, or the name of a model on the hub, which is first downloaded into a cache (see
 * {@linkcode downloadModel}). A name that is also a folder is the folder. Needs `--allow-read` for the folder, and
 * for a download `--allow-write` for the cache, `--allow-net` and `--allow-env`.
 *
 * The model drops as its configuration says (`resid_pdrop`) when training goes on, but never attention weights.
 *
 * @throws {FileFormatError} where a file is missing, cut short or foreign, or the configuration is of another
 * architecture or asks for what this library does not compute
 * @throws {TypeError} where the tensors are not those of the configuration; it lists them
 * @throws {RangeError} when `vocabSize` is less than the file's
 * @throws {DownloadError} where the hub refuses, or what came is not what it promised
 *
 * @example GPT-2 from the hub
 * ```ts ignore
 * import { loadPretrained } from "@dinograd/dinograd";
 *
 * const model = await loadPretrained("openai-community/gpt2");
 * ```
 *
 * @example From a folder
 * ```ts
 * import { CpuDevice, GPT2, loadPretrained, savePretrained } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const config = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const folder = await Deno.makeTempDir();
 * await savePretrained(new GPT2(config, { device }), folder);
 * const model = await loadPretrained(folder, { device, vocabSize: 16 });
 * assert.equal(model.config.vocabSize, 16);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function loadPretrained(
  from: string | URL,
  options: LoadPretrainedOptions = {},
): Promise<GPT2 | LLaMA> {
  const folder = await isFolder(from)
    ? toPath(from)
    : await downloadModel(String(from), { ...options, parts: ["model"] });
  const file = join(folder, "config.json");
  const json = await readJsonObject(file);
  if (!json) throw new FileFormatError("is not there; it says what model this is", { file });
  const fields = new ConfigFields(json, file);
  switch (fields.get("model_type")) {
    case gpt2Files.modelType:
      return await load(gpt2Files, folder, gpt2Files.readConfig(fields), options);
    case llamaFiles.modelType: {
      const { ropeLayout = "half-split" } = options;
      return await load(
        llamaFiles,
        folder,
        { ...llamaFiles.readConfig(fields), ropeLayout },
        options,
      );
    }
    default:
      return fields.refuse("model_type", `"gpt2" or "llama"`);
  }
}

/** Whether a string or URL leads to a folder; a string that names a path but leads nowhere throws. */
export async function isFolder(from: string | URL): Promise<boolean> {
  const path = toPath(from);
  try {
    if ((await Deno.stat(path)).isDirectory) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // The hub's names have no dot at their beginning and one slash at most.
  if (typeof from === "string" && /^\w[\w.-]*(\/\w[\w.-]*)?$/.test(from)) return false;
  throw new FileFormatError("is not a folder, and not the name of a model", { file: path });
}

async function load<C extends Sizes, M extends Configured<C>>(
  architecture: Architecture<C, M>,
  folder: string,
  config: C,
  options: LoadPretrainedOptions,
): Promise<M> {
  const { device, dtype, vocabSize = config.vocabSize } = options;
  if (!Number.isSafeInteger(vocabSize) || vocabSize < config.vocabSize) {
    throw new RangeError(
      `loadPretrained: expected a vocabSize of ${config.vocabSize} or more but got ${vocabSize}`,
    );
  }
  using files = await WeightFiles.open(folder);
  // No memory is taken before the files are known to hold all that the configuration asks for.
  const stored = checkTensors(architecture, config, folder, files);
  const model = new architecture.model({ ...config, vocabSize }, { device, dtype, random: null });
  try {
    let unsent = 0;
    for (const [name, parameter] of model.parameters()) {
      const { nameInFile, modelShape } = stored.get(name)!;
      const read = await files.readFloat32(nameInFile);
      const values = fromStored(read, modelShape, architecture.arrangement(name, config));
      // A larger vocabulary than the file's has more rows.
      const all = values.length < parameter.size
        ? withMeanRows(values, parameter.shape[1], parameter.size)
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
function checkTensors<C extends Sizes, M extends Configured<C>>(
  architecture: Architecture<C, M>,
  config: C,
  folder: string,
  files: WeightFiles,
): Map<string, Stored> {
  const { isIgnored, arrangement, prefix } = architecture;
  const found = [...files.tensors.keys()];
  if (config.numHiddenLayers > found.length) {
    throw new FileFormatError(
      `holds ${found.length} tensors, too few for the ${config.numHiddenLayers} layers of its configuration`,
      { file: files.name },
    );
  }
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

function checkedShapes<C, M extends Configured<C>>(
  architecture: Architecture<C, M>,
  config: C,
  folder: string,
): Map<string, Shape> {
  try {
    return shapesOf(architecture, config);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new FileFormatError(`has "model_type" and sizes that make no model: ${cause.message}`, {
      file: join(folder, "config.json"),
      cause,
    });
  }
}

/** Rows of a matrix, and after them their mean, until it has `size` elements. */
function withMeanRows(values: Float32Array, width: number, size: number): Float32Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < values.length; i++) sums[i % width] += values[i];
  const rows = values.length / width;
  const mean = Float32Array.from(sums, (sum) => sum / rows);
  const longer = new Float32Array(size);
  longer.set(values);
  for (let at = values.length; at < size; at += width) longer.set(mean, at);
  return longer;
}
