/**
 * The matrix product C = alpha op(A) op(B) [+ beta C] [+ bias], once or for a batch.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel, MAX_ITERATIONS } from "../src/device/kernel.ts";
import shared from "./matmul.wgsl" with { type: "text" };
import direct from "./matmul_direct.wgsl" with { type: "text" };
import subgroup from "./matmul_subgroup.wgsl" with { type: "text" };
import tiled from "./matmul_tiled.wgsl" with { type: "text" };
import vector from "./matmul_vector.wgsl" with { type: "text" };

/** Numbers of {@linkcode matmul}; {@linkcode matmulParams} fills in those that follow from the others. */
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
  a_offset: number;
  /** The first element of B in its binding. */
  b_offset: number;
  /** The first element of C in its binding. */
  c_offset: number;
  /** Number of products. Product p reads A at `a_offset + floor(p / inner) a_outer + (p mod inner) a_inner`. */
  batches: number;
  /** Products of the inner batch dimension. */
  inner: number;
  /** Elements from one A to the next along the outer batch dimension; 0 shares it. */
  a_outer: number;
  /** The same along the inner batch dimension. */
  a_inner: number;
  /** As `a_outer`, of B. */
  b_outer: number;
  /** As `a_inner`, of B. */
  b_inner: number;
  /** As `a_outer`, of C. */
  c_outer: number;
  /** As `a_inner`, of C. */
  c_inner: number;
  /** 1 when A is stored as k x m. */
  trans_a: number;
  /** 1 when B is stored as n x k. */
  trans_b: number;
  /** Factor of the product. */
  alpha: number;
  /** Factor of what C held; with 0 that is not read. */
  beta: number;
};

/**
 * The longest k of one launch on a GPU, so that no program loops more than `MAX_ITERATIONS` times: the shortest step
 * of a loop over k is 4. Longer products are added up from several launches (see `src/ops/matmul_launch.ts`).
 */
export const MAX_K = 3 * MAX_ITERATIONS;

/** Which program a GPU runs. */
export type MatmulVariant = "tiled" | "direct" | "subgroup" | "vector";

/** What {@linkcode matmulParams} starts from: the sizes, and what is not as usual. */
export type MatmulOptions = Partial<MatmulParams> & Pick<MatmulParams, "m" | "n" | "k">;

/**
 * All numbers of a product. What is left out is taken from the sizes: rows without gaps, matrices of a
 * batch one after the other, alpha 1, beta 0.
 */
export function matmulParams(options: MatmulOptions): MatmulParams {
  const { m, n, k, trans_a = 0, trans_b = 0, batches = 1, inner = batches } = options;
  const { lda = trans_a ? m : k, ldb = trans_b ? k : n, ldc = n } = options;
  const a_inner = options.a_inner ?? lda * (trans_a ? k : m);
  const b_inner = options.b_inner ?? ldb * (trans_b ? n : k);
  const c_inner = options.c_inner ?? ldc * m;
  // deno-fmt-ignore
  return {
    m, n, k, lda, ldb, ldc,
    a_offset: options.a_offset ?? 0, b_offset: options.b_offset ?? 0, c_offset: options.c_offset ?? 0,
    batches, inner,
    a_outer: options.a_outer ?? a_inner * inner, a_inner,
    b_outer: options.b_outer ?? b_inner * inner, b_inner,
    c_outer: options.c_outer ?? c_inner * inner, c_inner,
    trans_a, trans_b, alpha: options.alpha ?? 1, beta: options.beta ?? 0,
  };
}

/**
 * The program for a product on an adapter. On a CPU in disguise loads cost most and subgroups are the
 * cheapest way to share them; on a GPU workgroup memory is, once there is a tile to fill.
 */
export function matmulVariant({ m, n }: MatmulParams, target: GpuTarget): MatmulVariant {
  if (target.software) {
    if (m === 1) return "vector";
    return target.subgroupSize === 8 && m > 4 ? "subgroup" : "direct";
  }
  if (m <= 8) return "vector";
  return m > 16 && n > 16 ? "tiled" : "direct";
}

const PROGRAMS: Record<MatmulVariant, string> = {
  tiled: `${shared}\n${tiled}`,
  direct: `${shared}\n${direct}`,
  subgroup: `${shared}\n${subgroup}`,
  vector: `${shared}\n${vector}`,
};

/** True when every row begins at a multiple of 4 elements and k and n are such, so that loads may take 4. */
function isVector(p: MatmulParams): boolean {
  const { k, lda, ldb, ldc, a_offset, b_offset, c_offset, m, n } = p;
  const batch = p.a_outer | p.a_inner | p.b_outer | p.b_inner | p.c_outer | p.c_inner;
  return ((k | n | lda | ldb | ldc | a_offset | b_offset | c_offset | batch) & 3) === 0 &&
    (!p.trans_a || m % 4 === 0);
}

/**
 * c = alpha op(a) op(b) [+ beta c] [+ bias], for `batches` matrices.
 *
 * a holds op(a) as m x k, or k x m with `trans_a`; b holds op(b) as k x n, or n x k with `trans_b` (as the weight
 * of a linear layer is); bias (n) is added to every row. Sums are in f32 whatever the types of the elements.
 */
export const matmul: Kernel<MatmulParams> = kernel<MatmulParams>({
  name: "matmul",
  bindings: { a: "read", b: "read", c: "update", bias: "read" },
  optional: ["bias"],
  // deno-fmt-ignore
  params: {
    m: "u32", n: "u32", k: "u32", lda: "u32", ldb: "u32", ldc: "u32",
    a_offset: "u32", b_offset: "u32", c_offset: "u32", batches: "u32", inner: "u32",
    a_outer: "u32", a_inner: "u32", b_outer: "u32", b_inner: "u32", c_outer: "u32", c_inner: "u32",
    trans_a: "u32", trans_b: "u32", alpha: "f32", beta: "f32",
  },
  gpu(params, target) {
    const { m, n, batches, trans_a, trans_b } = params;
    const { dtypes } = target;
    const variant = matmulVariant(params, target);
    const fours = isVector(params);
    // Where workgroups are dear and barriers dearer, an invocation takes all of k; else as B lies in memory.
    const columnLanes = target.software ? 64 : trans_b ? 2 : 16;
    const [rows, columns] = {
      tiled: [64, 64],
      direct: [32, 32],
      subgroup: [32, 128],
      vector: [1, 4 * columnLanes],
    }[variant];
    return {
      wgsl: PROGRAMS[variant],
      constants: {
        A: dtypes.a,
        B: dtypes.b,
        C: dtypes.c,
        D: dtypes.bias ?? "f32",
        BIAS: dtypes.bias !== undefined,
        TRANS_A: trans_a !== 0,
        TRANS_B: trans_b !== 0,
        VECTOR: fours ? 1 : 0,
        SCALAR: fours ? 0 : 1,
        ...(variant === "vector" ? { COLUMN_LANES: columnLanes, K_LANES: 64 / columnLanes } : {}),
      },
      workgroups: variant === "subgroup"
        ? [Math.ceil(m / rows), Math.ceil(n / columns), batches]
        : [Math.ceil(n / columns), Math.ceil(m / rows), batches],
      // Steps of 4, and 160 stores at most. The tiled program takes steps of 16, in 2 nested loops.
      iterations: Math.ceil(params.k / 4) + 160,
    };
  },
  cpu({ a, b, c, bias }, p) {
    const { m, n, k, lda, ldb, ldc, alpha, beta } = p;
    const [aRow, aColumn] = p.trans_a ? [1, lda] : [lda, 1];
    const [bRow, bColumn] = p.trans_b ? [1, ldb] : [ldb, 1];
    for (let batch = 0; batch < p.batches; batch++) {
      const outer = Math.floor(batch / p.inner), inner = batch % p.inner;
      const aStart = p.a_offset + outer * p.a_outer + inner * p.a_inner;
      const bStart = p.b_offset + outer * p.b_outer + inner * p.b_inner;
      const cStart = p.c_offset + outer * p.c_outer + inner * p.c_inner;
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let l = 0; l < k; l++) {
            sum += a[aStart + i * aRow + l * aColumn] * b[bStart + l * bRow + j * bColumn];
          }
          const at = cStart + i * ldc + j;
          c[at] = alpha * sum + (bias ? bias[j] : 0) + (beta === 0 ? 0 : beta * c[at]);
        }
      }
    }
  },
  simd({ at, params, context }) {
    const p = params;
    if (p.beta !== 0 && p.beta !== 1) return false;
    // The helper knows one batch dimension: the whole batch where its matrices are evenly spaced.
    const even = p.batches === p.inner || p.inner === 1 ||
      (p.a_outer === p.inner * p.a_inner && p.b_outer === p.inner * p.b_inner &&
        p.c_outer === p.inner * p.c_inner);
    const batch = even ? p.batches : p.inner;
    const byOuter = p.inner === 1;
    for (let outer = 0; outer < p.batches / batch; outer++) {
      context.gemm({
        m: p.m,
        n: p.n,
        k: p.k,
        a: at.a + 4 * (p.a_offset + outer * p.a_outer),
        lda: p.lda,
        transA: p.trans_a !== 0,
        b: at.b + 4 * (p.b_offset + outer * p.b_outer),
        ldb: p.ldb,
        transB: p.trans_b !== 0,
        c: at.c + 4 * (p.c_offset + outer * p.c_outer),
        ldc: p.ldc,
        beta: p.beta,
        alpha: p.alpha,
        bias: at.bias,
        batch,
        strideA: byOuter ? p.a_outer : p.a_inner,
        strideB: byOuter ? p.b_outer : p.b_inner,
        strideC: byOuter ? p.c_outer : p.c_inner,
      });
    }
    return true;
  },
  // Rows of a product go their own way, as long as A's lie one after the other.
  split: {
    along: "m",
    elements: { a: ({ trans_a, lda }) => trans_a ? NaN : lda, c: ({ ldc }) => ldc },
  },
});
