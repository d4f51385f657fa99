/**
 * The operations that models are made of, for one import.
 *
 * @module
 */
export { gelu, relu } from "./activations.ts";
export { add, mul } from "./arithmetic.ts";
export { attention } from "./attention.ts";
export { attentionWeights } from "./attention_weights.ts";
export { notEqual } from "./compare.ts";
export { embedding } from "./embedding.ts";
export { linear } from "./linear.ts";
export { linearCrossEntropy } from "./linear_cross_entropy.ts";
export { matmul } from "./matmul.ts";
export { reshape } from "./reshape.ts";
export { rotary } from "./rotary.ts";
export { sinusoid } from "./sinusoid.ts";
export { slice, split } from "./slice.ts";
export { sparseAttention, sparseAttentionWeights } from "./sparse_attention.ts";
export { swiglu } from "./swiglu.ts";
