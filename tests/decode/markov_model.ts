/**
 * A model whose next token depends on the last one alone, so that a test can say what has to come.
 *
 * @module
 */
import type { NextTokenModel } from "../../src/decode/next_token_model.ts";
import type { Device } from "../../src/device/device.ts";
import { KeyValueCache } from "../../src/nn/key_value_cache.ts";
import { lastTokens } from "../../src/nn/sequences.ts";
import { embedding } from "../../src/ops/index.ts";
import { tensor } from "../../src/tensor/create.ts";
import { scoped } from "../../src/tensor/scope.ts";

/** What a {@linkcode markovModel} was asked to read: the ids of each call, (B, T) row after row. */
export type Reads = Promise<ArrayLike<number>>[];

/** A model that gives the scores `table[id]` after `id`. */
export function markovModel(
  device: Device,
  table: readonly (readonly number[])[],
  contextSize = 1000,
): NextTokenModel & { readonly reads: Reads } {
  const config = { vocabSize: table[0].length, maxPositionEmbeddings: contextSize };
  const reads: Reads = [];
  return {
    config,
    device,
    reads,
    createCache: (batch) =>
      new KeyValueCache({ device, batch, contextSize, layers: 0, kvHeads: 1, headSize: 1 }),
    nextLogits(ids, { cache, lengths }) {
      cache!.extend(ids.shape[1], lengths);
      reads.push(ids.data());
      return scoped(() => {
        const scores = tensor(Float32Array.from(table.flat()), {
          shape: [table.length, config.vocabSize],
          device,
        });
        return lastTokens(embedding(scores, ids), lengths);
      });
    },
  };
}
