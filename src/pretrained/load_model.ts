/**
 * Loads models from folders in Hugging Face's layout, and from the hub.
 *
 * @module
 */
import { DownloadError } from "../hub/http.ts";
import { join } from "../io/node_builtins.ts";
import { toPath } from "../io/byte_source.ts";
import { listCheckpoints } from "../io/checkpoint.ts";
import { FileFormatError } from "../io/errors.ts";
import type { LLaMAConfig } from "../models/llama.ts";
import type { ParameterOptions } from "../nn/init.ts";
import type { MatrixType } from "../nn/quantize.ts";
import type { Configured, Sizes } from "./architecture.ts";
import { ConfigFields } from "./config_fields.ts";
import { downloadModel, type ModelHubOptions, type ModelPart } from "./download_model.ts";
import { isGguf, loadGguf } from "./gguf_model.ts";
import { readJsonObject } from "./json_file.ts";
import {
  type AnyArchitecture,
  ARCHITECTURES,
  LANGUAGE_MODELS,
  type LanguageModelKind,
  type ModelKind,
  type ModelKinds,
} from "./model_kinds.ts";
import { readWeights } from "./read_weights.ts";
import { CONFIG, WeightFiles } from "./weight_files.ts";

/** Options of {@linkcode loadModel}. */
export interface LoadModelOptions<K extends ModelKind = LanguageModelKind>
  extends Pick<ParameterOptions, "device" | "dtype">, ModelHubOptions {
  /** The kinds of models to accept. Default: the language models. */
  readonly kinds?: readonly K[];
  /**
   * The number of ids of the model, if it is to be larger than the file's for speed: 50,304 for GPT-2's 50,257. Each
   * added row is the mean of the others, so that none of the added ids is ever likelier than one of V. Default: the
   * file's.
   */
  readonly vocabSize?: number | undefined;
  /**
   * The order of the rotary pairs in LLaMA's heads. If it differs from the file's, the rows of queries and keys are
   * permuted, which changes no result. Default: the file's, `half-split`, in GGUF `interleaved`.
   */
  readonly ropeLayout?: LLaMAConfig["ropeLayout"];
  /**
   * The type of the matrices of a language model in memory, which is then for inference, as after `quantize`: `stored`
   * keeps F16, Q8_0 and Q4_0 matrices of the file as they are; any other type is what all become. Default: `dtype`.
   */
  readonly matrices?: "stored" | MatrixType | undefined;
}

/**
 * Loads a model from a folder in Hugging Face's layout, as written by {@linkcode saveModel} and `transformers`:
 * `config.json` and `model.safetensors`, or several such files with their index; F32, F16 or BF16, converted to
 * `dtype`. Tensors are copied to the device one at a time. Of the kinds of `rope_scaling`, LLaMA 3.1's, YaRN and linear
 * are supported; others are refused.
 *
 * `from` is a folder, a GGUF file of llama.cpp (a name that ends in `.gguf`), or the name of a model on the hub, which
 * is first downloaded into a cache (see {@linkcode downloadModel}). A name that is also a folder refers to the folder.
 * Needs `--allow-read` for the folder or file and, for a download, `--allow-write` for the cache, `--allow-net` and
 * `--allow-env`.
 *
 * A GGUF file may hold a GPT-2, LLaMA or Mistral (`llama`), Qwen 2 or 3, Gemma 3, Phi 3 or SmolLM 3, in the types that
 * {@linkcode GgufFile} reads.
 *
 * When training continues, the model applies dropout as its configuration says (`resid_pdrop`), but never to attention
 * weights.
 *
 * @throws {FileFormatError} where a file is missing, cut short or foreign, or the configuration is of a model that is
 * not among `kinds`, or asks for what this library does not compute
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
  if (isGguf(from)) return await loadGguf(from, kinds, options ?? {}) as ModelKinds[K];
  const folder = await modelFolder(from, "model", options);
  const file = join(folder, CONFIG);
  const json = await readJsonObject(file);
  if (!json) {
    throw new FileFormatError(
      "expected the file that says what model this is but got none" +
        ((await listCheckpoints(folder)).length
          ? "; the folder has a run's checkpoints, of which `dinograd convert` makes a model"
          : ""),
      { file },
    );
  }
  const fields = new ConfigFields(json, file);
  const kind = fields.oneOf<ModelKind>("model_type", ...kinds);
  if (options?.matrices && kind === "transformer") {
    throw new TypeError(`loadModel: expected a language model for matrices but got ${kind}`);
  }
  const architecture = ARCHITECTURES[kind];
  const config = architecture.readConfig(fields);
  const layout = "ropeLayout" in config ? { ropeLayout } : {};
  return await load(architecture, folder, { ...config, ...layout }, options ?? {}) as ModelKinds[K];
}

/**
 * Returns the folder that is named, or the one into which `part` of the model of that name on the hub was downloaded.
 */
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

/** Whether a string or URL refers to a folder; throws if a string is a path to nothing. */
async function isFolder(from: string | URL): Promise<boolean> {
  const path = toPath(from);
  try {
    if ((await Deno.stat(path)).isDirectory) return true;
    throw new FileFormatError("expected a model's folder or a .gguf but got another file", {
      file: path,
    });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // Names on the hub do not start with a dot and have at most one slash.
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
  using files = await WeightFiles.open(folder);
  const { prefix, isIgnored, arrangement } = architecture;
  const hasPrefix = prefix !== "" &&
    files.tensors.keys().some((name) => name.startsWith(prefix));
  const layout = {
    nameInFile: (name: string) => hasPrefix ? prefix + name : name,
    arrangement,
    isIgnored: (name: string) =>
      isIgnored(hasPrefix && name.startsWith(prefix) ? name.slice(prefix.length) : name, config),
  };
  return await readWeights(architecture, layout, files, config, options);
}
