/**
 * GPT-3 (Brown et al. 2020, "Language Models are Few-Shot Learners", section 2.1): GPT-2, except that every other block
 * has sparse attention, in the manner of the Sparse Transformer (Child et al. 2019).
 *
 * A sparse block adds two attentions. One covers the block of `localBlockSize` tokens that the token is in; the other
 * covers the last token of every earlier block, where later blocks find what that token learned about its own block.
 * With blocks of b tokens, each token thus sees about b + T / b others instead of T.
 *
 * @module
 */
import type { AttentionPattern, ParameterOptions } from "../nn/mod.ts";
import { sparseAttention, sparseAttentionWeights } from "../ops/mod.ts";
import { GPT2, type GPT2Config } from "./gpt2.ts";

/** The configuration of a GPT-3. */
export interface GPT3Config extends GPT2Config {
  /** The number of tokens in a block of the sparse attention. Default: 8. */
  readonly localBlockSize?: number;
}

/** GPT-3 of any size: blocks 0, 2, ... are those of GPT-2; blocks 1, 3, ... are sparse, with the exact GELU. */
export class GPT3 extends GPT2 {
  /** The configuration, with all defaults filled in. */
  declare readonly config: Required<GPT3Config>;

  /** Creates a model with the initial values of {@linkcode GPT2}. Throws a `RangeError` for a block size below 1. */
  constructor(config: GPT3Config, options?: ParameterOptions) {
    const { localBlockSize = 8 } = config;
    if (!(Number.isInteger(localBlockSize) && localBlockSize >= 1)) {
      throw new RangeError(
        `GPT3: expected a localBlockSize of 1 or more but got ${localBlockSize}`,
      );
    }
    super(config, options);
    this.config = { ...this.config, localBlockSize };
    this.h.filter((_, i) => i % 2 === 1).forEach(({ attn, mlp }) => {
      attn.pattern = sparsePattern(localBlockSize);
      mlp.activation = "gelu";
    });
  }
}

/** Attention over the token's own block and over the last token of each earlier block. */
function sparsePattern(blockSize: number): AttentionPattern {
  const layout = "BTHD";
  return {
    mix: (queries, { keys, values, keyLength, positions }, dropout) =>
      sparseAttention(queries, keys, values, { blockSize, layout, keyLength, positions, dropout }),
    weights: (queries, { keys, keyLength, positions }) =>
      sparseAttentionWeights(queries, keys, { blockSize, layout, keyLength, positions }),
  };
}
