/**
 * The weights of a folder in Hugging Face's layout.
 *
 * @module
 */
import { join } from "../io/node_builtins.ts";
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import { SafetensorsFile, type TensorInfo } from "../io/safetensors.ts";
import type { MatrixType } from "../nn/quantize.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "./json_file.ts";

/** The file with the configuration of the model in a folder. */
export const CONFIG = "config.json";
/** The file of a model that is stored in one. */
export const WEIGHTS = "model.safetensors";
/** The file that lists which of several files each tensor is in. */
export const WEIGHTS_INDEX = "model.safetensors.index.json";

/** The tensors of `model.safetensors`, or of the files that `model.safetensors.index.json` names. */
export class WeightFiles implements Disposable {
  /** The path of the one file or of the index, for messages. */
  readonly name: string;
  /** The path of the configuration, for messages. */
  readonly configName: string;
  /** All tensors. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly #files: ReadonlyMap<string, SafetensorsFile>;

  private constructor(folder: string, name: string, files: ReadonlyMap<string, SafetensorsFile>) {
    this.name = name;
    this.configName = join(folder, CONFIG);
    this.#files = files;
    this.tensors = new Map([...files].map(([tensor, file]) => [tensor, file.info(tensor)]));
  }

  /**
   * Opens the files and reads their headers.
   *
   * @throws {FileFormatError} where a file is missing, foreign or cut short, or the index is wrong
   */
  static async open(folder: string): Promise<WeightFiles> {
    const single = join(folder, WEIGHTS);
    try {
      const file = await SafetensorsFile.open(single);
      return new WeightFiles(
        folder,
        single,
        new Map([...file.tensors.keys()].map((name) => [name, file])),
      );
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    const index = join(folder, WEIGHTS_INDEX);
    const json = await readJsonObject(index);
    if (!json) {
      throw new FileFormatError(`expected this file or ${WEIGHTS_INDEX} but got neither`, {
        file: single,
      });
    }
    return new WeightFiles(
      folder,
      index,
      await openShards(folder, readWeightMap(json, index), index),
    );
  }

  /** Reads one tensor as float32. */
  async readFloat32(name: string): Promise<Float32Array> {
    return await this.#files.get(name)!.readFloat32(name);
  }

  /** The type of a tensor, where matrices can be of it in memory. */
  matrixType(name: string): MatrixType | undefined {
    return this.tensors.get(name)!.dtype === "F16" ? "f16" : undefined;
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file.close();
  }
}

/**
 * Returns the file of each tensor, according to an index.
 *
 * @throws {FileFormatError} where it says none, or names files elsewhere
 */
export function readWeightMap(json: JsonObject, file: string): ReadonlyMap<string, string> {
  const { weight_map: map } = json;
  if (!isJsonObject(map)) {
    throw new FileFormatError(`expected "weight_map" to be an object but got ${shown(map)}`, {
      file,
    });
  }
  for (const [name, shard] of Object.entries(map)) {
    // Only files beside the index: a path could lead anywhere.
    if (typeof shard === "string" && /^[^/\\\0]{1,200}\.safetensors$/.test(shard)) continue;
    throw new FileFormatError(
      `expected the file of ${shown(name)} to be the name of a safetensors file but got ` +
        shown(shard),
      { file },
    );
  }
  return new Map(Object.entries(map as Record<string, string>));
}

async function openShards(
  folder: string,
  weightMap: ReadonlyMap<string, string>,
  index: string,
): Promise<Map<string, SafetensorsFile>> {
  const opened = new Map<string, SafetensorsFile>();
  try {
    for (const shard of new Set(weightMap.values())) {
      opened.set(shard, await openShard(join(folder, shard), index));
    }
    const files = new Map<string, SafetensorsFile>();
    for (const [name, shard] of weightMap) {
      const file = opened.get(shard)!;
      if (!file.tensors.has(name)) {
        throw new FileFormatError(
          `expected tensor ${shown(name)}, which ${index} names, but got none`,
          {
            file: file.name,
          },
        );
      }
      files.set(name, file);
    }
    return files;
  } catch (error) {
    for (const file of opened.values()) file.close();
    throw error;
  }
}

async function openShard(file: string, index: string): Promise<SafetensorsFile> {
  try {
    return await SafetensorsFile.open(file);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new FileFormatError(`expected this file, which ${index} names, but got none`, {
      file,
      cause,
    });
  }
}
