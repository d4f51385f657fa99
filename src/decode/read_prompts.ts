/**
 * The first step of decoding.
 *
 * @module
 */
import type { KeyValueCache } from "../nn/key_value_cache.ts";
import { embedding } from "../ops/index.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NextTokenModel } from "./next_token_model.ts";

/**
 * Reads sequences into a cache and returns the scores (B, V) of what follows each. They may have different lengths if
 * the cache is empty or has one row.
 */
export function readPrompts(
  model: NextTokenModel,
  cache: KeyValueCache,
  prompts: readonly ArrayLike<number>[],
): Tensor {
  const lengths = prompts.map((prompt) => prompt.length);
  const longest = Math.max(...lengths);
  const padded = new Int32Array(prompts.length * longest);
  prompts.forEach((prompt, row) => padded.set(prompt, row * longest));
  return scoped(() => {
    const ids = tensor(padded, { shape: [prompts.length, longest], device: model.device });
    const unequal = lengths.some((length) => length !== longest);
    return model.nextLogits(ids, unequal ? { cache, lengths } : { cache });
  });
}

/** Repeats each sequence that was read, in the cache and in the scores of what follows. */
export function repeatRows(logits: Tensor, cache: KeyValueCache, times: number): Tensor {
  if (times === 1) return logits;
  const rows = Array.from(
    { length: logits.shape[0]! * times },
    (_, row) => Math.floor(row / times),
  );
  cache.select(rows);
  return scoped(() => embedding(logits, tensor(Int32Array.from(rows), { device: logits.device })));
}
