/**
 * The operations.
 *
 * @module
 */
export * from "./elementwise.ts";
export * from "./activations.ts";
export * from "./reduce.ts";
export * from "./shape.ts";
export * from "./index.ts";
export * from "./einsum.ts";
export * from "./feed_forward.ts";
export { batchInvariant, linear, type LinearCall, matmul, type MatmulOptions } from "./matmul.ts";
export * from "./norm.ts";
export * from "./softmax.ts";
export {
  attention,
  type AttentionDropout,
  type AttentionOptions,
  attentionWeights,
  selfAttention,
  type SelfAttentionOptions,
  sparseAttention,
  type SparseAttentionOptions,
  sparseAttentionWeights,
} from "./attention.ts";
export * from "./rotary.ts";
export {
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  type BinaryCrossEntropyWithLogitsOptions,
  crossEntropy,
  type CrossEntropyOptions,
  huberLoss,
  type HuberLossOptions,
  klDiv,
  type KlDivOptions,
  l1Loss,
  linearCrossEntropy,
  type LinearCrossEntropyOptions,
  type LossOptions,
  mseLoss,
} from "./loss.ts";
export * from "./random.ts";
export { sample, type SampleOptions, type SamplingOptions } from "./sampling.ts";
