/**
 * The matrix product with a quantised right-hand side, which is dequantised where it is loaded.
 *
 * @module
 */
import type { QuantisedType } from "../../src/device/dtype.ts";
import { type Kernel, kernel, type SimdJob } from "../../src/device/kernel.ts";
import { quantisedReader } from "../../src/device/quantised.ts";
import { multiplyUnpacked } from "./hgemm.ts";
import { matmul, MATMUL_PARAMS, matmulProgram, matmulVariant, multiplyBySimd } from "./matmul.ts";
import quantised from "./quantised.wgsl" with { type: "text" };
import type { MatmulParams } from "./params.ts";
import { MIN_WORK, vectorChunk } from "./sgemm.ts";

/** Numbers that share a scale. */
const BLOCK = 32;
/** Rows up to which codes are multiplied as integers, without unpacking them to memory. */
const FEW_ROWS = 16;

/**
 * c = alpha op(a) op(b) [+ beta c] [+ bias] [+ residual] and activations as `matmul` has them, with b in `codes` and `scales` (`QuantisedLayout`); rows of b as
 * stored are whole blocks.
 */
function quantisedMatmul(type: QuantisedType): Kernel<MatmulParams> {
  const codesPerWord = type === "q8_0" ? 4 : 8;
  return kernel<MatmulParams>({
    name: `matmul_${type}`,
    bindings: {
      a: { read: "*" },
      codes: { read: "* 1", dtype: "u32" }, // not in fours where `*` is
      scales: { read: "* 1", dtype: "u32" },
      c: { update: "*" },
      bias: { read: "n", optional: true },
      residual: { read: "*", optional: true },
      pre: { update: "*", optional: true },
    },
    params: MATMUL_PARAMS,
    gpu(params, target) {
      const program = matmulProgram(params, target);
      const part = program.parts?.params as MatmulParams | undefined ?? params;
      const constants = {
        ...{ ...program.constants, QUANTISED: true, FOUR_BITS: type === "q4_0" },
        ...matmulVariant(part, target) === "vector" && {
          DOTS: target.packedDots && hasWholeBlocks(part),
        },
      };
      return { ...program, wgsl: `${quantised}\n${program.wgsl}`, constants };
    },
    cpu({ codes, scales, ...others }, p) {
      const read = quantisedReader(type, codes, scales);
      const b = Float32Array.from({ length: codes.length * codesPerWord }, (_, i) => read(i));
      matmul.cpu({ ...others, b }, p);
    },
    simd(job) {
      if (job.params.batches !== 1) return false;
      return multiplyBySimd(job, (params, at) => multiply({ ...job, params, at }, type));
    },
  });
}

/** Whether each row of b begins with a block, and the product takes whole blocks of it. */
function hasWholeBlocks({ transposeA, transposeB, k, ldb, bOffset, bOuter, bInner }: MatmulParams) {
  return transposeA === 0 && transposeB === 1 &&
    (k | ldb | bOffset | bOuter | bInner) % BLOCK === 0;
}

/** The kernels by the type of b. */
export const quantisedMatmuls: Readonly<Record<QuantisedType, Kernel<MatmulParams>>> = {
  q8_0: quantisedMatmul("q8_0"),
  q4_0: quantisedMatmul("q4_0"),
};

function multiply(job: SimdJob<MatmulParams>, type: QuantisedType): void {
  const { transposeA, transposeB, m, batchInvariant } = job.params;
  if (!transposeB || transposeA) multiplyAsFloats(job, type);
  else if (m <= FEW_ROWS || batchInvariant) multiplyFew(job, type);
  else if (job.blas) multiplyAsFloats(job, type);
  else multiplyMany(job, type);
}

/**
 * A few rows: they are rounded to integers of 8 bits with a scale for each block, as in llama.cpp, and multiplied with the codes
 * as integers, so each code is read once and no floats are made of them. A row does not depend on the number of rows.
 */
function multiplyFew(job: SimdJob<MatmulParams>, type: QuantisedType): void {
  const { at, params, threads } = job;
  const { m, n, k, lda, ldc, alpha, beta, aOffset, bOffset, cOffset } = params;
  const blocks = k / BLOCK, isQ8 = type === "q8_0";
  const x = job.scratch((isQ8 ? 2 : 1) * m * k),
    scales = job.scratch(4 * m * blocks),
    sums = job.scratch(4 * m * blocks);
  const perThread = Math.max(64, Math.ceil(m * blocks / threads));
  // deno-fmt-ignore
  job.run("rows_to_i8", m * blocks, perThread, at.a! + 4 * aOffset, lda, blocks, Number(isQ8), x, scales, sums);
  const chunk = vectorChunk(n, m * k, threads, 4);
  const codeBytes = isQ8 ? bOffset : bOffset / 2;
  // deno-fmt-ignore
  job.run(`multiply_${type}`, n, chunk, m, blocks, alpha, x, scales, sums,
    at.codes! + codeBytes, at.scales! + bOffset / BLOCK * 2,
    at.c! + 4 * cOffset, ldc, beta, at.bias ?? 0);
}

/** Many rows: they are rounded to integers of 7 bits with a scale for each block. */
function multiplyMany(job: SimdJob<MatmulParams>, type: QuantisedType): void {
  const { at, params, threads } = job;
  const { m, n, k, lda, ldc, alpha, beta, aOffset, bOffset, cOffset } = params;
  const blocks = k / BLOCK;
  const fours = 4 * Math.ceil(m / 4);
  const x = job.scratch(fours * k), scales = job.scratch(4 * fours * blocks);
  const perThread = Math.max(64, Math.ceil(m * blocks / (4 * threads)));
  // deno-fmt-ignore
  job.run("rows_to_i7", m * blocks, perThread, at.a! + 4 * aOffset, lda, blocks, x, scales);
  const eights = Math.ceil(n / 8);
  const least = Math.ceil(MIN_WORK / (8 * m * k));
  const codeBytes = type === "q8_0" ? bOffset : bOffset / 2;
  // deno-fmt-ignore
  job.run("multiply_many", eights, Math.max(least, Math.ceil(eights / (8 * threads))), m, n, blocks,
    Number(type === "q4_0"), alpha, x, scales, at.codes! + codeBytes, at.scales! + bOffset / BLOCK * 2,
    at.c! + 4 * cOffset, ldc, beta, at.bias ?? 0);
}

/** A gradient, or many rows with BLAS. */
function multiplyAsFloats(job: SimdJob<MatmulParams>, type: QuantisedType): void {
  const { at, params } = job;
  multiplyUnpacked(job, params, at, (first, count, to) => {
    const codes = at.codes! + (type === "q8_0" ? first : first / 2);
    // deno-fmt-ignore
    job.run(`unpack_${type}`, count / BLOCK, 1024, codes, at.scales! + first / BLOCK * 2, to);
  });
}
