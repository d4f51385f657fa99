/**
 * The matrix product C = alpha op(A) op(B) [+ beta C] [+ bias] [+ residual], single or batched, with an optional
 * activation function, and with the row sums of op(A) if they are wanted.
 *
 * @module
 */
import {
  type Addresses,
  type GpuProgram,
  type GpuTarget,
  type Kernel,
  kernel,
  MAX_ITERATIONS,
  type SimdJob,
} from "../../src/device/kernel.ts";
import { activations, activationsWgsl } from "../elementwise/activations.ts";
import { SIMD_CHUNK } from "../elementwise/elementwise.ts";
import shared from "./matmul.wgsl" with { type: "text" };
import direct from "./matmul_direct.wgsl" with { type: "text" };
import large from "./matmul_large.wgsl" with { type: "text" };
import matrix from "./matmul_matrix.wgsl" with { type: "text" };
import subgroup from "./matmul_subgroup.wgsl" with { type: "text" };
import tiled from "./matmul_tiled.wgsl" with { type: "text" };
import vector from "./matmul_vector.wgsl" with { type: "text" };
import { hgemm } from "./hgemm.ts";
import { matmulSum } from "./matmul_sum.ts";
import { ACTIVATIONS, type MatmulParams } from "./params.ts";
import { sgemm } from "./sgemm.ts";

/** The longest k of one launch, whose loops over k go in steps of at least 4 (see `MAX_ITERATIONS`). */
const MAX_K = 3 * MAX_ITERATIONS;

/** The most workgroups in each dimension of a launch. */
const MAX_WORKGROUPS = 65535;

/**
 * The axis along which a product must be cut into several launches on a GPU, because loops over it would be too long
 * or its workgroups too many; undefined if it need not be.
 */
export function tooLongAxis(
  { m, n, k, batches }: MatmulParams,
): "batches" | "m" | "n" | "k" | undefined {
  if (batches > MAX_WORKGROUPS) return "batches";
  // At least 32 rows a workgroup where there are many, and 8 columns.
  if (m > 32 * MAX_WORKGROUPS) return "m";
  if (n > 8 * MAX_WORKGROUPS) return "n";
  return k > MAX_K ? "k" : undefined;
}

/** The GPU programs for matrix products. */
export type MatmulVariant = "matrix" | "large" | "tiled" | "direct" | "subgroup" | "vector";

/**
 * Chooses the program for a product on an adapter. On a software adapter loads are the main cost, and subgroups are
 * the cheapest way to share them; on a GPU it is workgroup memory, once a tile can be filled.
 */
export function matmulVariant(params: MatmulParams, target: GpuTarget): MatmulVariant {
  const { m, n, batches } = params;
  // 32 rows per workgroup, so that a batch reads the weights once; each row is summed along k independently.
  if (params.batchInvariant) return "direct";
  if (target.software) {
    if (m === 1) return "vector";
    return target.subgroupSize === 8 && m > 4 ? "subgroup" : "direct";
  }
  if (m <= 8) return "vector";
  if (m <= 16 || n <= 16) return "direct";
  const { a, b } = target.dtypes;
  const { maxInvocations, maxWorkgroupBytes } = target;
  const half = a === "f16" && b === "f16";
  if (target.matrixUnits && half && isVector(params) && maxWorkgroupBytes >= 16 * 1024) {
    return "matrix";
  }
  const tiles = Math.ceil(m / 128) * Math.ceil(n / 128) * batches;
  const fits = maxInvocations >= 256 && maxWorkgroupBytes >= 2 * 16 * 32 * 16;
  return fits && 2 * tiles > target.minWorkgroups ? "large" : "tiled";
}

/** The shortest k of a part of a product that is split along k. */
const MIN_SPLIT_K = 512;
/** The maximum size of all parts together, in bytes. */
const MAX_SPLIT_BYTES = 2 ** 26;

/**
 * The number of equal parts into which a product is split along k, to be added up by `matmulSum`. More than one if
 * whole tiles would leave most of a GPU idle, as for the gradients of weights.
 */
export function matmulSplits(params: MatmulParams, minWorkgroups: number): number {
  const { n, k, batches, ldc, cOffset, activation } = params;
  if (batches !== 1 || ldc !== n || cOffset !== 0 || activation !== 0) return 1;
  const m = params.batchInvariant ? 1 : params.m;
  const tiles = Math.ceil(m / 128) * Math.ceil(n / 128);
  const room = Math.floor(MAX_SPLIT_BYTES / (4 * m * n));
  const wanted = Math.ceil(minWorkgroups / tiles);
  for (let parts = Math.min(wanted, room, Math.floor(k / MIN_SPLIT_K)); parts > 1; parts--) {
    if (k % (4 * parts) === 0) return parts;
  }
  return 1;
}

/** What a workgroup computes in the program for matrix units. */
interface MatrixTile {
  readonly rows: number;
  readonly columns: number;
  readonly constants: Readonly<Record<string, number>>;
}

/** Tiles for matrix units, the largest first: 16 x 16 matrices per subgroup, then subgroups per workgroup. */
const MATRIX_TILES = [[4, 4, 2, 4], [4, 2, 2, 4], [2, 2, 2, 2]] as const;

/** The largest tile that leaves enough workgroups and fits in workgroup memory. */
function matrixTile(
  { m, n, batches }: MatmulParams,
  { maxWorkgroupBytes, minWorkgroups }: GpuTarget,
): MatrixTile {
  const tiles = MATRIX_TILES.map(([ROWS, COLUMNS, SUBGROUPS_M, SUBGROUPS_N]) => {
    const rows = 16 * ROWS * SUBGROUPS_M, columns = 16 * COLUMNS * SUBGROUPS_N;
    const THREADS = 32 * SUBGROUPS_M * SUBGROUPS_N;
    const TILE_K = 32;
    const A_LOADS = rows * TILE_K / 4 / THREADS, B_LOADS = columns * TILE_K / 4 / THREADS;
    const shape = { ROWS, COLUMNS, SUBGROUPS_M, SUBGROUPS_N, THREADS, A_LOADS, B_LOADS };
    // Two bytes per element, the padding of rows (at most TILE_K of 16 bytes, or one per row or column), and the
    // sums.
    const bytes = (rows + columns) * (2 * TILE_K + 16) + THREADS / 32 * 16 * 20 * 4;
    return { rows, columns, bytes, constants: shape };
  });
  const fitting = tiles.filter(({ bytes }) => bytes <= maxWorkgroupBytes);
  const enough = ({ rows, columns }: MatrixTile) =>
    2 * Math.ceil(m / rows) * Math.ceil(n / columns) * batches >= minWorkgroups;
  return fitting.find(enough) ?? fitting[fitting.length - 1]!;
}

const head = `${shared}\n//#if ACTIVATION\n${activationsWgsl}\n//#end`;
const PROGRAMS: Record<MatmulVariant, string> = {
  matrix: `${head}\n${matrix}`,
  large: `${head}\n${large}`,
  tiled: `${head}\n${tiled}`,
  direct: `${head}\n${direct}`,
  subgroup: `${head}\n${subgroup}`,
  vector: `${head}\n${vector}`,
};

/** True if every row begins at a multiple of 4 elements and k and n are multiples of 4, so that loads can be vec4. */
function isVector(p: MatmulParams): boolean {
  const { k, lda, ldb, ldc, aOffset, bOffset, cOffset, m, n } = p;
  const batch = p.aOuter | p.aInner | p.bOuter | p.bInner | p.cOuter | p.cInner;
  return ((k | n | lda | ldb | ldc | aOffset | bOffset | cOffset | batch) & 3) === 0 &&
    (!p.transposeA || m % 4 === 0);
}

/** The parameters of the kernels for matrix products. */
// deno-fmt-ignore
export const MATMUL_PARAMS = {
  m: "u32", n: "u32", k: "u32", lda: "u32", ldb: "u32", ldc: "u32",
  aOffset: "u32", bOffset: "u32", cOffset: "u32", batches: "u32", inner: "u32",
  aOuter: "u32", aInner: "u32", bOuter: "u32", bInner: "u32", cOuter: "u32", cInner: "u32",
  transposeA: "u32", transposeB: "u32", alpha: "f32", beta: "f32", activation: "u32", derivative: "u32",
  batchInvariant: "u32",
} as const;

/** Returns the program for a product, or for its parts if it is split. */
export function matmulProgram(params: MatmulParams, target: GpuTarget): GpuProgram {
  const { m, n, lda, ldb, transposeA, transposeB, beta } = params;
  const parts = matmulSplits(params, target.minWorkgroups);
  if (parts === 1) return wholeProgram(params, target);
  const k = params.k / parts;
  const partial: MatmulParams = {
    ...params,
    ...{ k, beta: 0, batches: parts, inner: parts, cInner: m * n },
    aInner: k * (transposeA ? lda : 1),
    bInner: k * (transposeB ? 1 : ldb),
  };
  return {
    ...wholeProgram(partial, target),
    parts: {
      params: partial,
      sum: matmulSum,
      sumParams: { parts, m, n, beta },
      partials: { c: "partials", rowSums: "partialRowSums" },
    },
  };
}

function wholeProgram(params: MatmulParams, target: GpuTarget): GpuProgram {
  const variant = matmulVariant(params, target);
  const { m, n, batches, transposeA, transposeB } = params;
  // On software adapters, where workgroups and barriers are expensive, an invocation does all of k; on GPUs the lanes
  // follow the layout of B.
  const columnLanes = target.software ? 64 : transposeB ? 2 : 16;
  const tile = variant === "matrix" ? matrixTile(params, target) : undefined;
  const [rows, columns] = {
    matrix: [tile?.rows ?? 1, tile?.columns ?? 1],
    large: [128, 128],
    tiled: [64, 64],
    direct: [32, 32],
    subgroup: [32, 128],
    vector: [1, 4 * columnLanes],
  }[variant];
  const constants: Record<string, number | boolean | string> = {
    TRANSPOSE_A: transposeA !== 0,
    TRANSPOSE_B: transposeB !== 0,
    ACTIVATION: params.activation,
    DERIVATIVE: params.derivative !== 0,
  };
  if (isVector(params)) Object.assign(constants, { REAL: "vec4<f32>", BITS: "vec4<u32>" });
  if (variant === "vector") {
    Object.assign(constants, { COLUMN_LANES: columnLanes, K_LANES: 64 / columnLanes });
  } else if (variant === "matrix") Object.assign(constants, tile?.constants);
  else if (variant === "large") {
    constants.PADDING = Number(target.maxWorkgroupBytes >= 2 * 16 * 33 * 16);
  }
  return {
    wgsl: PROGRAMS[variant],
    vec4: isVector(params) && "*",
    constants,
    workgroups: variant === "subgroup"
      ? [Math.ceil(m / rows!), Math.ceil(n / columns!), batches]
      : [Math.ceil(n / columns!), Math.ceil(m / rows!), batches],
    flops: 2 * m * n * params.k * batches,
    fixed: params.batchInvariant !== 0, // the fastest one depends on the number of rows
    // Steps of 4, and at most 160 stores. The tiled program takes steps of 16 in 2 nested loops.
    iterations: Math.ceil(params.k / 4) + 160,
  };
}

/** Runs `multiply` for the product alone, then adds bias and residual and applies the activation function. */
export function multiplyBySimd(
  job: SimdJob<MatmulParams>,
  multiply: (params: MatmulParams, at: Addresses) => void,
): boolean {
  const { at, params } = job;
  const { m, n, ldc, beta, batches, cOffset, derivative } = params;
  const activation = ACTIVATIONS[params.activation];
  const packed = ldc === n && batches === 1;
  if (activation || at.residual) {
    if (!packed || beta !== 0 || (activation && at.residual)) return false;
  } else if (beta !== 0 && beta !== 1) return false;
  const placeOf = (address: number) => address + 4 * cOffset;
  const c = placeOf(at.c!);
  if (at.residual) {
    job.run("copy", m * n, SIMD_CHUNK, placeOf(at.residual), c);
    multiply({ ...params, beta: 1 }, at);
  } else if (!activation) multiply(params, at);
  else if (derivative) {
    multiply(params, at);
    job.run(
      `${activations[activation].simd}_backward`,
      m * n,
      SIMD_CHUNK,
      c,
      placeOf(at.pre!),
      c,
    );
  } else {
    const sums = at.pre || at.c!;
    multiply(params, { ...at, c: sums });
    job.run(activations[activation].simd, m * n, SIMD_CHUNK, placeOf(sums), c);
  }
  return true;
}

/**
 * c = alpha op(a) op(b) [+ beta c] [+ bias] [+ residual], for `batches` matrices.
 *
 * a holds op(a) as m x k, or as k x m with `transposeA`; b holds op(b) as k x n, or as n x k with `transposeB` (like
 * the weight of a linear layer); bias (n) is added to every row; residual has the layout of c. Sums are in f32 for
 * all dtypes; b may be f16 if the others are f32.
 *
 * With an activation function f, c is f of that sum; `pre`, if given, receives the sum itself in the layout of c.
 * With `derivative`, c is the sum times the slope of f at `pre`.
 *
 * `rowSums`, which requires `transposeA`, receives alpha times the sums of the rows of op(a) [+ beta rowSums]: the
 * gradient of a bias, if c is that of the weight.
 */
export const matmul: Kernel<MatmulParams> = kernel<MatmulParams>({
  name: "matmul",
  bindings: {
    a: { read: "*" },
    b: { read: "*", half: true },
    c: { update: "*" },
    bias: { read: "n", optional: true },
    residual: { read: "*", optional: true },
    pre: { update: "*", optional: true },
    rowSums: { update: "batches m", optional: true },
  },
  params: MATMUL_PARAMS,
  gpu: matmulProgram,
  cpu({ a, b, c, bias, residual, pre, rowSums }, p) {
    const { m, n, k, lda, ldb, ldc, alpha, beta } = p;
    const [aRow, aColumn] = p.transposeA ? [1, lda] : [lda, 1];
    const [bRow, bColumn] = p.transposeB ? [1, ldb] : [ldb, 1];
    const activation = ACTIVATIONS[p.activation];
    for (let batch = 0; batch < p.batches; batch++) {
      const outer = Math.floor(batch / p.inner), inner = batch % p.inner;
      const aStart = p.aOffset + outer * p.aOuter + inner * p.aInner;
      const bStart = p.bOffset + outer * p.bOuter + inner * p.bInner;
      const cStart = p.cOffset + outer * p.cOuter + inner * p.cInner;
      for (let i = 0; i < m; i++) {
        if (rowSums) {
          let sum = 0;
          for (let l = 0; l < k; l++) sum += a[aStart + i * aRow + l * aColumn];
          const at = batch * m + i;
          rowSums[at] = alpha * sum + (beta === 0 ? 0 : beta * rowSums[at]);
        }
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let l = 0; l < k; l++) {
            sum += a[aStart + i * aRow + l * aColumn] * b[bStart + l * bRow + j * bColumn];
          }
          const at = cStart + i * ldc + j;
          const value = alpha * sum + (bias ? bias[j] : 0) + (residual ? residual[at] : 0) +
            (beta === 0 ? 0 : beta * c[at]);
          if (!activation) c[at] = value;
          else if (p.derivative) c[at] = value * activations[activation].slope(pre[at]);
          else {
            if (pre) pre[at] = value;
            c[at] = activations[activation].value(value);
          }
        }
      }
    }
  },
  simd: (job) => {
    const { at, params } = job;
    const { m, k, lda, alpha, beta, batches, transposeA } = params;
    if (at.rowSums && !(transposeA && alpha === 1 && batches === 1)) return false;
    const multiply = job.bindings.b!.dtype === "f16" ? hgemm : sgemm;
    if (!multiplyBySimd(job, (params, at) => multiply(job, params, at))) return false;
    if (at.rowSums) {
      job.run("column_sum", m, 64, at.a! + 4 * params.aOffset, at.rowSums, k, lda, beta);
    }
    return true;
  },
});
