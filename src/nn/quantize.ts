/**
 * Quantisation of models.
 *
 * @module
 */
import type { QuantisedType } from "../device/dtype.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Embedding, Linear } from "./layers.ts";
import { type Module, replaceParameters } from "./module.ts";
import { assignFloats, checkWithinHalf } from "./state_dict.ts";

/** Types that matrices of a model of f32 may have. */
export type MatrixType = QuantisedType | "f16";

/** Options of {@linkcode quantize}. */
export interface QuantizeOptions {
  /** Selects the parameters to quantise, by name. Default: all that can be. */
  readonly include?: (name: string) => boolean;
}

/**
 * Quantises the matrices of a model in place, for inference: the weights of all `Linear` layers, and the embedding of
 * its `vocabSize` ids. `f16` takes 16 bits per weight; `q8_0` takes 8.5 and `q4_0` 4.5, if the rows are a multiple of 32
 * elements, with llama.cpp's arithmetic. Activations and sums stay f32: kernels convert the weights as they load them.
 * Gradients flow through these layers, as adapters need, but the weights require none (quantised ones can have none).
 * The model must be f32 or f16. Returns the model.
 *
 * @throws {RangeError} if `dtype` is f16 and a weight is too large for it
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
  dtype: MatrixType,
  options?: QuantizeOptions,
): Promise<M> {
  if (dtype !== "q8_0" && dtype !== "q4_0" && dtype !== "f16") {
    throw new TypeError(
      `quantize: expected "f16", "q8_0" or "q4_0" but got ${JSON.stringify(dtype)}`,
    );
  }
  const matrices = quantisable(model);
  await replaceParameters(model, async (parameter, name) => {
    const wanted = matrices.has(parameter) && fits(parameter, dtype) &&
      (options?.include?.(name) ?? true);
    if (!wanted || parameter.dtype === dtype) return undefined;
    const quantised = Tensor.empty(parameter.device, parameter.shape, dtype);
    const values = await parameter.data();
    if (dtype === "f16") checkWithinHalf("quantize", name, values);
    assignFloats(quantised, values);
    return quantised;
  });
  return model;
}

/** The weights of a model that are only multiplied with or looked up. */
export function quantisable(model: Module): ReadonlySet<Tensor> {
  const { config } = model as { config?: { vocabSize?: number } };
  const found = new Set<Tensor>();
  for (const module of model.modules().values()) {
    // Position embeddings are small, and are added.
    const isWanted = module instanceof Linear ||
      module instanceof Embedding && module.weight.shape[0] === config?.vocabSize;
    if (isWanted) found.add(module.weight);
  }
  return found;
}

/** Whether a matrix can have a type: blocks of quantised numbers lie within a row. */
export function fits(matrix: Tensor, dtype: MatrixType): boolean {
  return dtype === "f16" || matrix.shape[1]! % 32 === 0;
}
