/**
 * `/v1/embeddings`: a vector for each text, made from the hidden states of a language model.
 *
 * @module
 */
import type { NextTokenModel } from "../decode/next_token_model.ts";
import { mean } from "../ops/reduce.ts";
import { cast } from "../ops/elementwise.ts";
import { slice } from "../ops/shape.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A model with access to its last hidden states, normalised, (B, T, E) for ids (B, T), as every `CausalLM` has. */
export interface EmbeddingModel extends NextTokenModel {
  /** See {@linkcode EmbeddingModel}. */
  hidden(ids: Tensor): Tensor;
}

/** How the hidden states of a text become one vector: their mean, or that of the last token. */
export type Pooling = "mean" | "last";

/** Whether a model gives access to its hidden states. */
export function isEmbeddingModel(model: NextTokenModel): model is EmbeddingModel {
  return typeof (model as Partial<EmbeddingModel>).hidden === "function";
}

/** Returns the vector of a text, of length 1. */
export async function embed(
  model: EmbeddingModel,
  ids: ArrayLike<number>,
  pooling: Pooling,
): Promise<Float32Array> {
  using pooled = noGrad(() =>
    scoped(() => {
      const { device } = model;
      const input = tensor(Int32Array.from(ids), { shape: [1, ids.length], device });
      const states = model.hidden(input); // (1, T, E)
      const { length } = ids;
      const one = pooling === "mean"
        ? mean(states, 1)
        : slice(states, [[0, 1], [length - 1, length]]);
      return cast(one, "f32").keep();
    })
  );
  const vector = Float32Array.from(await pooled.data());
  const norm = Math.hypot(...vector);
  return vector.map((x) => x / (norm || 1));
}
