/**
 * The numbers of a matrix product C = alpha op(A) op(B) [+ beta C] [+ bias] [+ residual], from the operation to every backend.
 *
 * @module
 */
import type { Activation } from "../elementwise/activations.ts";

/** Numbers of a matrix product; {@linkcode matmulParams} fills in those that follow from the others. */
export type MatmulParams = {
  /** Rows of C and of op(A). */
  m: number;
  /** Columns of C and of op(B). */
  n: number;
  /** Columns of op(A) and rows of op(B); with 0 the product is zero. */
  k: number;
  /** Elements from one row of A, as stored, to the next. */
  lda: number;
  /** Elements from one row of B, as stored, to the next. */
  ldb: number;
  /** Elements from one row of C to the next. */
  ldc: number;
  /** The first element of A in its binding. */
  aOffset: number;
  /** The first element of B in its binding. */
  bOffset: number;
  /** The first element of C in its binding. */
  cOffset: number;
  /** Number of products. Product p reads A at `aOffset + floor(p / inner) aOuter + (p mod inner) aInner`. */
  batches: number;
  /** Products of the inner batch dimension. */
  inner: number;
  /** Elements from one A to the next along the outer batch dimension; 0 shares it. */
  aOuter: number;
  /** The same along the inner batch dimension. */
  aInner: number;
  /** As `aOuter`, of B. */
  bOuter: number;
  /** As `aInner`, of B. */
  bInner: number;
  /** As `aOuter`, of C. */
  cOuter: number;
  /** As `aInner`, of C. */
  cInner: number;
  /** 1 when A is stored as k x m. */
  transposeA: number;
  /** 1 when B is stored as n x k. */
  transposeB: number;
  /** Factor of the product. */
  alpha: number;
  /** Factor of what C held; with 0 that is not read. */
  beta: number;
  /** 1 where a row of C must be the same to the last bit whatever m is. Asks for `transposeB` and no `transposeA`. */
  batchInvariant: number;
  /** The function that is applied to the result, by its place in {@linkcode ACTIVATIONS}; 0: none. */
  activation: number;
  /** 1 when the result is multiplied by the function's slope instead. */
  derivative: number;
};

/** The functions that a product can apply, by `activation`. */
export const ACTIVATIONS: readonly (Activation | undefined)[] = [
  undefined,
  "gelu",
  "geluTanh",
  "relu",
  "reluSquared",
];

/** What {@linkcode matmulParams} starts from: the sizes, and what is not as usual. */
export type PartialMatmulParams =
  & Partial<MatmulParams>
  & Pick<MatmulParams, "m" | "n" | "k">;

/**
 * All numbers of a product. What is left out is taken from the sizes: rows without gaps, matrices of a
 * batch one after the other, alpha 1, beta 0, no activation.
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
