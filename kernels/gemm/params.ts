/**
 * The parameters of a matrix product C = alpha op(A) op(B) [+ beta C] [+ bias] [+ residual], for every backend.
 *
 * @module
 */
import type { Activation } from "../elementwise/activations.ts";

/** Parameters of a matrix product; {@linkcode matmulParams} fills in those that follow from the others. */
export type MatmulParams = {
  /** The rows of C and op(A). */
  m: number;
  /** The columns of C and op(B). */
  n: number;
  /** The columns of op(A) and rows of op(B); with 0 the product is zero. */
  k: number;
  /** The leading dimension of A as stored: elements from one row to the next. */
  lda: number;
  /** The leading dimension of B as stored. */
  ldb: number;
  /** The leading dimension of C. */
  ldc: number;
  /** The offset of A in its binding, in elements. */
  aOffset: number;
  /** The offset of B in its binding. */
  bOffset: number;
  /** The offset of C in its binding. */
  cOffset: number;
  /** The number of products. Product p reads A at `aOffset + floor(p / inner) aOuter + (p mod inner) aInner`. */
  batches: number;
  /** The size of the inner batch dimension. */
  inner: number;
  /** The stride of A along the outer batch dimension; with 0 all products share A. */
  aOuter: number;
  /** The stride of A along the inner batch dimension. */
  aInner: number;
  /** As `aOuter`, for B. */
  bOuter: number;
  /** As `aInner`, for B. */
  bInner: number;
  /** As `aOuter`, for C. */
  cOuter: number;
  /** As `aInner`, for C. */
  cInner: number;
  /** 1 if A is stored as k x m. */
  transposeA: number;
  /** 1 if B is stored as n x k. */
  transposeB: number;
  /** The factor of the product. */
  alpha: number;
  /** The factor of the previous content of C, which is not read if this is 0. */
  beta: number;
  /** 1 if a row of C must be bitwise the same for every m. Requires `transposeB` and no `transposeA`. */
  batchInvariant: number;
  /** The function applied to the result, as an index into {@linkcode ACTIVATIONS}; 0 for none. */
  activation: number;
  /** 1 to multiply the result by the slope of the function instead. */
  derivative: number;
};

/** The functions that a product can apply, indexed by `activation`. */
export const ACTIVATIONS: readonly (Activation | undefined)[] = [
  undefined,
  "gelu",
  "geluTanh",
  "relu",
  "reluSquared",
];

/** The argument of {@linkcode matmulParams}: the sizes, and whatever differs from the defaults. */
export type PartialMatmulParams =
  & Partial<MatmulParams>
  & Pick<MatmulParams, "m" | "n" | "k">;

/**
 * Returns all parameters of a product. Defaults: rows without gaps, the matrices of a batch one after the other,
 * alpha 1, beta 0, no activation.
 */
export function matmulParams(options: PartialMatmulParams): MatmulParams {
  const { m, n, k, transposeA = 0, transposeB = 0, batches = 1, inner = batches } = options;
  const { lda = transposeA ? m : k, ldb = transposeB ? k : n, ldc = n } = options;
  const aInner = options.aInner ?? lda * (transposeA ? k : m);
  const bInner = options.bInner ?? ldb * (transposeB ? n : k);
  const cInner = options.cInner ?? ldc * m;
  // deno-fmt-ignore
  return {
    m, n, k, lda, ldb, ldc,
    aOffset: options.aOffset ?? 0, bOffset: options.bOffset ?? 0, cOffset: options.cOffset ?? 0,
    batches, inner,
    aOuter: options.aOuter ?? aInner * inner, aInner,
    bOuter: options.bOuter ?? bInner * inner, bInner,
    cOuter: options.cOuter ?? cInner * inner, cInner,
    transposeA, transposeB, alpha: options.alpha ?? 1, beta: options.beta ?? 0,
    batchInvariant: options.batchInvariant ?? 0,
    activation: options.activation ?? 0, derivative: options.derivative ?? 0,
  };
}
