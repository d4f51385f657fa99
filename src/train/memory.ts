/**
 * The memory that training takes. `docs/MEMORY.md` derives the formula.
 *
 * @module
 */
import { matmulSplits } from "../../kernels/gemm/matmul.ts";
import { matmulParams } from "../../kernels/gemm/params.ts";
import { BYTES } from "../device/dtype.ts";
import type { GPT2Config } from "../models/gpt2.ts";
import { defaultChunkRows } from "../ops/loss.ts";
import { SLAB_BYTES } from "../optim/optimizer.ts";

/** How a GPT-2 is trained. */
export interface TrainingSetup {
  /** The number of sequences in a micro-batch, B. */
  readonly batch: number;
  /** The number of tokens in a sequence, T. Default: `maxPositionEmbeddings`. */
  readonly context?: number;
  /** Whether only the inputs of blocks are kept for the backward pass. Default: false. */
  readonly recompute?: boolean | undefined;
  /** The dtype of parameters, gradients and activations; moments and master copies are `f32`. Default: `f32`. */
  readonly dtype?: "f32" | "f16" | undefined;
  /**
   * The device's `minWorkgroups`: if it is large, long products are computed in parts, which take memory. Default: 1.
   */
  readonly minWorkgroups?: number | undefined;
}

/** The bytes held on the device while a GPT-2 trains with AdamW. */
export interface TrainingMemory {
  /** The weights and, in f16, their master copies. */
  readonly parameters: number;
  /** AdamW's two moments. */
  readonly moments: number;
  /** The maximum that gradients, activations and logits take together at any moment of a step. */
  readonly step: number;
  /** The total. */
  readonly total: number;
}

/**
 * Returns the peak memory of a training step of a GPT-2, in bytes, from its sizes alone. Rounding by the device comes
 * on top: up to 3 % on WebGPU, whose buffers come in size classes, and on the CPU device the f32 copies of f16 operands
 * that a kernel computes with.
 *
 * @example
 * ```ts
 * import { gpt2TrainingMemory } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const gpt2 = { vocabSize: 50304, maxPositionEmbeddings: 1024, hiddenSize: 768, numHiddenLayers: 12, numAttentionHeads: 12 };
 * const { total } = gpt2TrainingMemory(gpt2, { batch: 8 });
 * const { total: less } = gpt2TrainingMemory(gpt2, { batch: 8, recompute: true });
 * assert.equal((total / 2 ** 30).toFixed(1), "6.5");
 * assert.equal((less / 2 ** 30).toFixed(1), "2.6");
 * ```
 */
export function gpt2TrainingMemory(config: GPT2Config, setup: TrainingSetup): TrainingMemory {
  const { vocabSize, maxPositionEmbeddings, hiddenSize } = config;
  const { numHiddenLayers: layers, numAttentionHeads: heads } = config;
  const { batch, context = maxPositionEmbeddings, recompute = false, dtype = "f32" } = setup;
  const { minWorkgroups = 1 } = setup;
  const bytes = BYTES[dtype];
  const rows = batch * context;
  const state = rows * hiddenSize * bytes; // a tensor (B, T, E)
  const count = vocabSize * hiddenSize + maxPositionEmbeddings * hiddenSize + 2 * hiddenSize +
    layers * (12 * hiddenSize + 13) * hiddenSize;

  // Per block: two norms (4 numbers a row), q, k, v, attention (2 numbers a row and head), its projection and sum, the
  // MLP's 4 C before and after GELU, its output and sum.
  const saved = 16 * state + rows * (4 + 2 * heads) * 4;
  const working = saved + 3 * state;
  const kept = recompute ? layers * state : layers * saved;
  const chunk = Math.min(rows, defaultChunkRows(rows, vocabSize));
  const logits = chunk * vocabSize * 4;
  // The parts of the product that computes the hidden states' gradient.
  const product = matmulParams({ m: chunk, n: hiddenSize, k: vocabSize });
  const splits = matmulSplits(product, minWorkgroups);
  const parts = splits > 1 ? splits * chunk * hiddenSize * BYTES.f32 : 0;
  // Gradients lie side by side in slabs; a whole slab is allocated with the first of its gradients: first that of the
  // embedding, in the end all.
  const gradients = count * bytes;
  const slab = Math.max(SLAB_BYTES / BYTES.f32, vocabSize * hiddenSize) * bytes;
  const ofLoss = (rows + vocabSize) * hiddenSize * BYTES.f32; // with respect to its two inputs, in f32

  const moments = [
    kept + 2 * state + ofLoss + logits + parts, // the loss
    kept + 2 * state + ofLoss + Math.min(gradients, slab), // its backward pass
    kept + gradients + (recompute ? working + 2 * state : 5 * state), // the last block's backward pass
    gradients + (recompute ? 9 : 7) * state, // that of the first map, which gives queries, keys and values together
  ];
  const step = Math.ceil(Math.max(...moments));
  const parameters = count * (dtype === "f16" ? BYTES.f16 + BYTES.f32 : BYTES.f32);
  const averages = 2 * count * BYTES.f32;
  return { parameters, moments: averages, step, total: parameters + averages + step };
}
