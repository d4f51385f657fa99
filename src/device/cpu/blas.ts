/**
 * The machine's own BLAS by FFI, where one is installed and the user has permitted it: about twice to four times the speed
 * of the WASM kernels on hardware with wide vectors. Never required, and nobody is ever asked for a permission.
 *
 * @module
 */
import { sgemm as wasmSgemm, type SgemmOptions } from "./sgemm.ts";
import type { ThreadPool } from "./threads.ts";

/** Where OpenBLAS (by its absolute path, so that a narrow `--allow-ffi` is enough) and Accelerate are found. */
const LIBRARIES: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  linux: [
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/libopenblas.so.0",
    "/usr/lib64/libopenblasp.so.0",
    "/usr/lib64/libopenblas.so.0",
    "/usr/lib/libopenblas.so.0",
    "/usr/lib/libopenblas.so",
  ],
  darwin: [
    "/System/Library/Frameworks/Accelerate.framework/Accelerate",
    "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
    "/usr/local/opt/openblas/lib/libopenblas.dylib",
  ],
};

/** Set to `off` to keep to the WASM kernels, or to the path of a library; read only where `--allow-env` covers it. */
const VARIABLE = "DINOGRAD_BLAS";

const SYMBOLS = {
  // deno-fmt-ignore
  cblas_sgemm: {
    parameters: ["i32", "i32", "i32", "i32", "i32", "i32", "f32", "buffer", "i32", "buffer", "i32", "f32",
      "buffer", "i32"],
    result: "void",
  },
  openblas_set_num_threads: { parameters: ["i32"], result: "void", optional: true },
  openblas_get_num_threads: { parameters: [], result: "i32", optional: true },
  openblas_get_corename: { parameters: [], result: "pointer", optional: true },
  gotoblas_dynamic_quit: { parameters: [], result: "void", optional: true },
  gotoblas_dynamic_init: { parameters: [], result: "void", optional: true },
  openblas_read_env: { parameters: [], result: "void", optional: true },
  blas_thread_shutdown_: { parameters: [], result: "i32", optional: true },
  // Of the C library, which a lookup in OpenBLAS also reaches.
  setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32", optional: true },
  memcpy: { parameters: ["buffer", "pointer", "usize"], result: "void", optional: true },
  __x86_get_cpuid_feature_leaf: { parameters: ["u32"], result: "pointer", optional: true },
} as const;

const ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112;

/** Multiply-adds below which the WASM kernel is as fast as a call into BLAS. */
const MIN_WORK = 8192;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;

/** Options of {@linkcode Blas.open}. */
export interface BlasOptions {
  /** Absolute path of the library; the usual places, or `DINOGRAD_BLAS`, when left out. */
  path?: string;
  /** Threads of the library; its own choice when left out. Accelerate decides by itself. */
  threads?: number;
}

/** A BLAS of the machine, opened by FFI. */
export class Blas {
  readonly #library: Library;

  private constructor(
    /** Path of the library. */
    readonly path: string,
    library: Library,
  ) {
    this.#library = library;
    useCpuFeatures(library);
    sleepSoon(library);
  }

  /**
   * Opens the first BLAS that is there and that `--allow-ffi` already covers; `undefined` where none is. Never prompts.
   */
  static open(options: BlasOptions = {}): Blas | undefined {
    const wanted = options.path ?? readVariable();
    if (wanted === "off") return undefined;
    for (const path of wanted ? [wanted] : LIBRARIES[Deno.build.os] ?? []) {
      if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") continue;
      let library: Library;
      try {
        library = Deno.dlopen(path, SYMBOLS);
      } catch {
        // Not installed, or no CBLAS: the next one.
        continue;
      }
      const blas = new Blas(path, library);
      if (options.threads !== undefined) blas.setThreads(options.threads);
      return blas;
    }
    return undefined;
  }

  /** The processor family that the library chose its kernels for, where it tells. */
  get core(): string | undefined {
    return coreName(this.#library);
  }

  /** Threads that the library uses, where it tells. */
  get threads(): number | undefined {
    return this.#library.symbols.openblas_get_num_threads?.();
  }

  /** Sets the threads of the library; does nothing for one that decides by itself. */
  setThreads(threads: number): void {
    this.#library.symbols.openblas_set_num_threads?.(threads);
  }

  /**
   * Same as `sgemm` of `sgemm.ts`, with the products done by the library. Matrix-vector and tiny products, and layouts that
   * BLAS does not know, stay with the WASM kernels of `pool`.
   */
  sgemm(pool: ThreadPool, options: SgemmOptions): void {
    const { m, n, k, a, b, c } = options;
    const transA = options.transA ?? false, transB = options.transB ?? false;
    const lda = options.lda ?? (transA ? m : k), ldb = options.ldb ?? (transB ? k : n);
    const ldc = options.ldc ?? n;
    const batch = options.batch ?? 1;
    const { bias = 0, residual = 0, alpha = 1, beta = 0 } = options;
    const packed = ldc === n && (batch === 1 || (options.strideC ?? m * n) === m * n) &&
      (options.ldr ?? n) === n;
    if (m < 2 || n < 2 || m * n * k < MIN_WORK || ((bias || residual) && !packed)) {
      return wasmSgemm(pool, options);
    }
    const strideA = options.strideA ?? lda * (transA ? k : m);
    const strideB = options.strideB ?? ldb * (transB ? n : k);
    const strideC = options.strideC ?? ldc * m;
    const { cblas_sgemm } = this.#library.symbols;
    const { buffer } = pool.memory;
    const rowsA = transA ? k : m, rowsB = transB ? n : k;
    for (let i = 0; i < batch; i++) {
      const view = (at: number, stride: number, rows: number, ld: number, columns: number) =>
        new Float32Array(buffer, at + 4 * i * stride, (rows - 1) * ld + columns);
      // deno-fmt-ignore
      cblas_sgemm(ROW_MAJOR, transA ? TRANSPOSED : PLAIN, transB ? TRANSPOSED : PLAIN, m, n, k, alpha,
        view(a, strideA, rowsA, lda, transA ? m : k), lda,
        view(b, strideB, rowsB, ldb, transB ? k : n), ldb,
        beta, view(c, strideC, m, ldc, n), ldc);
    }
    if (bias) {
      pool.run("row_add", batch * m, Math.max(1, Math.ceil(16384 / n)), c, bias, c, n);
    }
    if (residual) pool.run("add", batch * m * n, 16384, c, residual, c);
  }

  /** Closes the library; it must not be used afterwards. */
  close(): void {
    this.#library.close();
  }
}

function readVariable(): string | undefined {
  const permission = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  return permission.state === "granted" ? Deno.env.get(VARIABLE) || undefined : undefined;
}

/** A C string for a `buffer` parameter. */
function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(value + "\0");
}

/** Reads a C string of up to 8 characters. */
function coreName({ symbols }: Library): string | undefined {
  const pointer = symbols.openblas_get_corename?.();
  if (!pointer || !symbols.memcpy) return undefined;
  // Copied by the C library: Deno.UnsafePointerView would need `--allow-ffi` for everything.
  const bytes = new Uint8Array(16);
  symbols.memcpy(bytes, pointer, 8n);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

/**
 * An OpenBLAS that is older than the processor falls back to kernels of 2004 ("Prescott", SSE3), a fifth of the speed.
 * Where the C library says that the processor has AVX-512 or AVX2 and FMA, tell OpenBLAS to start again with those.
 */
function useCpuFeatures(library: Library): void {
  const { symbols } = library;
  const { setenv, memcpy, __x86_get_cpuid_feature_leaf: leaf } = symbols;
  const { gotoblas_dynamic_quit: quit, gotoblas_dynamic_init: init } = symbols;
  if (!setenv || !memcpy || !leaf || !quit || !init || coreName(library) !== "Prescott") return;
  // Four words of what the processor has, then four of what the system lets programs use; ebx is the second of each.
  const active = (index: number, word: number): number => {
    const words = new Uint32Array(8);
    memcpy(new Uint8Array(words.buffer), leaf(index), 32n);
    return words[4 + word];
  };
  const ebx7 = active(1, 1), ecx1 = active(0, 2);
  const has = (word: number, ...bits: number[]) => bits.every((bit) => word >>> bit & 1);
  const avx512 = has(ebx7, 16, 17, 30, 31), avx2 = has(ebx7, 5) && has(ecx1, 12);
  if (!avx512 && !avx2) return;
  setenv(text("OPENBLAS_CORETYPE"), text(avx512 ? "SkylakeX" : "Haswell"), 0);
  quit();
  init();
}

/**
 * Threads of OpenBLAS look for work for a tenth of a second before they sleep, and take the cores from the WASM kernels that
 * come next. Let them look for 2^15 cycles, which costs the products nothing measurable.
 */
function sleepSoon({ symbols }: Library): void {
  const { setenv, openblas_read_env: read, blas_thread_shutdown_: stop } = symbols;
  if (!setenv || !read || !stop) return;
  setenv(text("OPENBLAS_THREAD_TIMEOUT"), text("15"), 0);
  read();
  // They start again with the next product.
  stop();
}
