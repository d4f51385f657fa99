/**
 * Quantisation of models.
 *
 * @module
 */
import type { QuantisedType } from "../device/dtype.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Embedding, Linear } from "./layers.ts";
import { type Module, replaceParameters } from "./module.ts";
import { assignFloats } from "./state_dict.ts";

/** Options of {@linkcode quantize}. */
export interface QuantizeOptions {
  /** Selects the parameters to quantise, by name. Default: all that can be. */
  readonly include?: (name: string) => boolean;
}

/**
 * Quantises the matrices of a model in place, for inference: the weights of all `Linear` layers, and the embedding of
 * its `vocabSize` ids, if their rows are a multiple of 32 elements. `q8_0` takes 8.5 bits per weight, `q4_0` 4.5, with
 * llama.cpp's arithmetic. Kernels dequantise the weights as they load them. Gradients flow through these layers, as
 * adapters need, but quantised weights themselves require none. The model must be f32, or f16 if its embedding is not
 * quantised. Returns the model.
 *
 * @example
 * ```ts
 * import { CpuDevice, LLaMA, quantize } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 10, maxPositionEmbeddings: 8, hiddenSize: 64, numHiddenLayers: 1, numAttentionHeads: 2 };
 * using model = await quantize(new LLaMA(sizes, { device }), "q8_0");
 * assert.equal(model.parameters().get("lm_head.weight")?.dtype, "q8_0");
 * ```
 */
export async function quantize<M extends Module>(
  model: M,
  dtype: QuantisedType,
  options?: QuantizeOptions,
): Promise<M> {
  if (dtype !== "q8_0" && dtype !== "q4_0") {
    throw new TypeError(`quantize: expected "q8_0" or "q4_0" but got ${JSON.stringify(dtype)}`);
  }
  const matrices = quantisable(model);
  await replaceParameters(model, async (parameter, name) => {
    const wanted = matrices.has(parameter) && (options?.include?.(name) ?? true);
    if (!wanted || parameter.dtype === dtype) return undefined;
    const quantised = Tensor.empty(parameter.device, parameter.shape, dtype);
    assignFloats(quantised, await parameter.data());
    return quantised;
  });
  return model;
}

/** The weights of a model that are only multiplied with or looked up. */
export function quantisable(model: Module): ReadonlySet<Tensor> {
  const { config } = model as { config?: { vocabSize?: number } };
  const found = new Set<Tensor>();
  for (const module of model.modules().values()) {
    if (!(module instanceof Linear || module instanceof Embedding)) continue;
    const { weight } = module;
    // Position embeddings are small, and are added. An f16 model needs the f16 rows of its embedding for the layers
    // that follow.
    const isWanted = module instanceof Linear ||
      (weight.shape[0] === config?.vocabSize && weight.dtype !== "f16");
    if (isWanted && weight.shape[1]! % 32 === 0) found.add(weight);
  }
  return found;
}
