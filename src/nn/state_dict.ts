/**
 * A model's parameters as a safetensors file.
 *
 * @module
 */
import { SafetensorsFile, type TensorEntry, writeSafetensors } from "../io/safetensors.ts";
import { assign } from "../tensor/create.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkStateDict } from "./parameters.ts";

/** Anything with named parameters. */
export interface Model {
  /** The parameters by name. */
  parameters(): ReadonlyMap<string, Tensor>;
}

const FILE_TYPES = { f32: "F32", f16: "F16", i32: "I32", u32: "U32" } as const;

/** Tensors as a file takes them: each is read from its device when its turn comes. */
export function tensorEntries(tensors: ReadonlyMap<string, Tensor>, prefix = ""): TensorEntry[] {
  return [...tensors].map(([name, tensor]) => ({
    name: prefix + name,
    dtype: FILE_TYPES[tensor.dtype],
    shape: tensor.shape,
    data: () => tensor.data(),
  }));
}

/**
 * Writes the parameters of a model to a safetensors file under their names, one tensor in memory at a time.
 * The file appears whole or not at all.
 *
 * @example Save a model and load it again
 * ```ts
 * import { CpuDevice, GPT2, loadStateDict, saveStateDict } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const config = { vocabSize: 10, contextSize: 8, embedSize: 8, layers: 1, heads: 2 };
 * const [model, copy] = [new GPT2(config, { device }), new GPT2(config, { device })];
 * const path = await Deno.makeTempFile({ suffix: ".safetensors" });
 * await saveStateDict(model, path);
 * await loadStateDict(copy, path);
 * const name = "h.0.mlp.fc1.weight";
 * assert.deepEqual(
 *   await copy.parameters().get(name)!.data(),
 *   await model.parameters().get(name)!.data(),
 * );
 * await Deno.remove(path);
 * ```
 */
export async function saveStateDict(model: Model, path: string | URL): Promise<void> {
  await writeSafetensors(path, tensorEntries(model.parameters()));
}

/**
 * Reads a model's parameters from a safetensors file (F32, F16 or BF16, converted to the model's type), one
 * tensor in memory at a time. Throws a `TypeError` that lists what is missing, foreign or of another shape,
 * and then nothing has changed; a `FileFormatError` for a file that is not whole.
 */
export async function loadStateDict(model: Model, path: string | URL): Promise<void> {
  using file = await SafetensorsFile.open(path);
  const parameters = model.parameters();
  checkStateDict(parameters, file.tensors, String(path));
  for (const [name, tensor] of parameters) {
    const values = await file.readFloat32(name);
    assign(tensor, tensor.dtype === "f16" ? new Float16Array(values) : values);
  }
}
