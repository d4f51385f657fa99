/**
 * What the SIMD implementations of kernels compute with.
 *
 * @module
 */
import type { Blas } from "./blas.ts";
import type { ThreadPool } from "./threads.ts";

/** What a kernel's SIMD implementation finds in `SimdJob.context`. */
export interface CpuContext {
  /** The threads, the WASM kernels they run, and their memory. */
  readonly pool: ThreadPool;
  /** The machine's BLAS, where there is one; `pool` was started with its kernel. */
  readonly blas: Blas | undefined;
}
