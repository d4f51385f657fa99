/**
 * The machine's own BLAS by FFI, if one is installed and the user has permitted it: about two to four times the speed
 * of the WASM kernels on hardware with wide vectors. It is optional, and never causes a permission prompt.
 *
 * @module
 */
import {
  attentionBackwardKernel,
  attentionKernel,
  type Product,
  productKernel,
  productOf,
} from "./blas_kernels.ts";
import type { NativeKernel, ThreadKernel, WasmFunctions } from "./threads.ts";

/** Where to find OpenBLAS and Accelerate. The paths are absolute, so that a narrow `--allow-ffi` is enough. */
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

/** Set to `off` to use the WASM kernels, or to the path of a library. Read only where `--allow-env` covers it. */
const VARIABLE = "DINOGRAD_BLAS";

const PRODUCT = {
  // deno-fmt-ignore
  cblas_sgemm: {
    parameters: ["i32", "i32", "i32", "i32", "i32", "i32", "f32", "buffer", "i32", "buffer", "i32", "f32",
      "buffer", "i32"],
    result: "void",
  },
} as const;

const SYMBOLS = {
  ...PRODUCT,
  openblas_set_num_threads: { parameters: ["i32"], result: "void", optional: true },
  openblas_get_corename: { parameters: [], result: "pointer", optional: true },
  gotoblas_dynamic_quit: { parameters: [], result: "void", optional: true },
  gotoblas_dynamic_init: { parameters: [], result: "void", optional: true },
  // Functions of the C library, which lookups in OpenBLAS also find.
  getenv: { parameters: ["buffer"], result: "pointer", optional: true },
  setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32", optional: true },
  strcmp: { parameters: ["buffer", "pointer"], result: "i32", optional: true },
  memcpy: { parameters: ["buffer", "pointer", "usize"], result: "void", optional: true },
  __x86_get_cpuid_feature_leaf: { parameters: ["u32"], result: "pointer", optional: true },
  dlopen: { parameters: ["buffer", "i32"], result: "pointer", optional: true },
} as const;

/** Flags of Linux's `dlopen`. */
const RTLD_LAZY = 1, RTLD_NODELETE = 0x1000;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;

/** Options of {@linkcode Blas.open}. */
export interface BlasOptions {
  /** The absolute path of the library. Default: `DINOGRAD_BLAS`, or the usual places. */
  path?: string | undefined;
}

/**
 * A BLAS of the machine, opened by FFI.
 *
 * OpenBLAS runs each call on the calling thread only, and the threads of the pool share a product by tiles of C.
 * OpenBLAS's own threads would be one set for the whole process, whatever number its devices ask for, and would take
 * cores from the WASM kernels that run next. Accelerate manages its own threads and gets each product in one call.
 */
export class Blas {
  /**
   * Kernels for `ThreadPool.start`: `blas_product`, `blas_attention` and `blas_attention_backward`. Workers run them
   * only if a call uses only the calling thread.
   */
  readonly kernels: readonly NativeKernel[];
  /** Whether a call uses only the calling thread. */
  readonly singleThreaded: boolean;
  readonly #library: Library;

  private constructor(
    /** The path of the library. */
    readonly path: string,
    library: Library,
  ) {
    this.#library = library;
    const { cblas_sgemm, openblas_set_num_threads } = library.symbols;
    keepLoaded(library, path);
    oncePerProcess(library, () => useCpuFeatures(library));
    // One thread, for every device of the process, so that none changes it for another.
    openblas_set_num_threads?.(1);
    this.singleThreaded = openblas_set_num_threads !== undefined;
    const symbols = `Deno.dlopen(${JSON.stringify(path)}, ${JSON.stringify(PRODUCT)}).symbols`;
    const product = `(${productOf})(${symbols}.cblas_sgemm, memory)`;
    const kernel = (
      name: string,
      create: (product: Product, wasm: WasmFunctions) => ThreadKernel,
    ): NativeKernel => ({
      name,
      create: (memory, wasm) => create(productOf(cblas_sgemm, memory), wasm),
      workerSource: this.singleThreaded ? `(${create})(${product}, wasm)` : undefined,
    });
    this.kernels = [
      kernel("blas_product", productKernel),
      kernel("blas_attention", attentionKernel),
      kernel("blas_attention_backward", attentionBackwardKernel),
    ];
  }

  /**
   * Opens the first BLAS that exists and that `--allow-ffi` already covers; `undefined` if there is none. Never
   * prompts.
   */
  static open(options?: BlasOptions): Blas | undefined {
    if (!("Deno" in globalThis)) return undefined; // a browser
    const wanted = options?.path ?? readVariable();
    if (wanted === "off") return undefined;
    for (const path of wanted ? [wanted] : LIBRARIES[Deno.build.os] ?? []) {
      if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") continue;
      let library: Library;
      try {
        library = Deno.dlopen(path, SYMBOLS);
      } catch {
        // Not installed, or no CBLAS: try the next one.
        continue;
      }
      return new Blas(path, library);
    }
    return undefined;
  }

  /** The processor family that the library chose its kernels for, if it says so. */
  get core(): string | undefined {
    return coreName(this.#library);
  }

  /** Closes the handle, which must not be used afterwards. On Linux, the library stays loaded. */
  close(): void {
    this.#library.close();
  }
}

function readVariable(): string | undefined {
  const permission = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  return permission.state === "granted" ? Deno.env.get(VARIABLE) || undefined : undefined;
}

/** Encodes a C string for a `buffer` parameter. */
function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(value + "\0");
}

/** Reads a C string of up to 8 characters. */
function coreName({ symbols }: Library): string | undefined {
  const pointer = symbols.openblas_get_corename?.();
  if (!pointer || !symbols.memcpy) return undefined;
  // The C library copies it: Deno.UnsafePointerView would need `--allow-ffi` for everything.
  const bytes = new Uint8Array(16);
  symbols.memcpy(bytes, pointer, 8n);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

/**
 * Keeps the library loaded until the process ends. Handles are closed by the thread that ends last, often a worker.
 * Unloading would stop OpenBLAS's threads and free its memory there, while the process may be exiting on another
 * thread.
 */
function keepLoaded({ symbols }: Library, path: string): void {
  if (Deno.build.os === "linux") symbols.dlopen?.(text(path), RTLD_LAZY | RTLD_NODELETE);
}

/**
 * An OpenBLAS older than the processor falls back to kernels from 2004 ("Prescott", SSE3), at a fifth of the speed. If
 * the C library says that the processor has AVX-512, or AVX2 and FMA, this restarts OpenBLAS with kernels for those.
 */
function useCpuFeatures(library: Library): void {
  const { symbols } = library;
  const { setenv, memcpy, __x86_get_cpuid_feature_leaf: leaf } = symbols;
  const { gotoblas_dynamic_quit: quit, gotoblas_dynamic_init: init } = symbols;
  if (!setenv || !memcpy || !leaf || !quit || !init || coreName(library) !== "Prescott") return;
  // Four words of what the processor has, then four of what the system lets programs use. ebx is the second of each.
  const active = (index: number, word: number): number => {
    const words = new Uint32Array(8);
    memcpy(new Uint8Array(words.buffer), leaf(index), 32n);
    return words[4 + word]!;
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
 * Runs `change` in the first JavaScript thread of the process that gets here; the others wait until it is done. The
 * threads share no memory, but the process has one C environment, and `setenv` without overwriting tells who was first.
 */
function oncePerProcess({ symbols }: Library, change: () => void): void {
  const { getenv, setenv, strcmp } = symbols;
  if (!getenv || !setenv || !strcmp) return;
  // Includes the process id, since child processes inherit the environment.
  const variable = text(`DINOGRAD_BLAS_${Deno.pid}`), done = text("done");
  const own = text(crypto.randomUUID());
  setenv(variable, own, 0);
  if (strcmp(own, getenv(variable)) === 0) {
    try {
      change();
    } finally {
      setenv(variable, done, 1);
    }
    return;
  }
  const sleep = new Int32Array(new SharedArrayBuffer(4));
  for (let waited = 0; waited < 1000 && strcmp(done, getenv(variable)) !== 0; waited++) {
    Atomics.wait(sleep, 0, 0, 1);
  }
}
