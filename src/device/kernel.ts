/**
 * What a kernel is. Its specification (bindings, parameters, how it splits) is declared once. It has a WGSL program for
 * GPUs, a reference implementation in plain TypeScript, and usually a WASM SIMD one.
 *
 * @module
 */
import type { DType, TypedArray } from "./dtype.ts";
import {
  type Access,
  type BindingSpec,
  type KernelSpecification,
  type Params,
  type ShapeSpec,
  slotsOf,
} from "./kernel_spec.ts";

export type { Access, BindingSpec, KernelSpecification, Params, ShapeSpec };

/** What a kernel knows about the GPU and the launch when it chooses its program. */
export interface GpuTarget {
  /** The dtype of each given binding. */
  readonly dtypes: Readonly<Record<string, DType>>;
  /** Maximum invocations per workgroup. */
  readonly maxInvocations: number;
  /** Maximum bytes of workgroup memory. */
  readonly maxWorkgroupBytes: number;
  /** Whether the adapter runs on the CPU (llvmpipe, SwiftShader), where barriers are expensive. */
  readonly software: boolean;
  /** The number of workgroups below which parts of the GPU are idle; 1 on software adapters. */
  readonly minWorkgroups: number;
  /** Whether `subgroupAdd` and other subgroup operations are available. */
  readonly subgroups: boolean;
  /** Whether there are subgroup matrices of 16 x 16 in f16 with sums in f32, and subgroups of 32. */
  readonly matrixUnits: boolean;
  /** Whether WGSL has `dot4I8Packed`, the product of four integers of 8 bits with four others. */
  readonly packedDots: boolean;
  /** The number of invocations in a subgroup if all have the same size, else 0. */
  readonly subgroupSize: number;
}

/**
 * Maximum loop iterations of one invocation, summed over all its loops (nested ones multiplied), on any adapter. Mesa's
 * llvmpipe silently ends every loop after 65,535 iterations (`LP_MAX_TGSI_LOOP_ITERATIONS`); half of that leaves room
 * for what a driver counts on top. More work takes more lanes or more launches.
 */
export const MAX_ITERATIONS = 32768;

/** A GPU program and how many workgroups of it to launch. */
export interface GpuProgram {
  /** The source, as imported from the `.wgsl` file. The header is prepended (see `wgslHeader`). */
  readonly wgsl: string;
  /** An axis, or `*`: the program sees the bindings whose last axis this is as `vec4`. Default: none. */
  readonly vec4?: string | false;
  /** Values for the `const` and `alias` lines of the source (see `template.ts`). */
  readonly constants?: Readonly<Record<string, number | string | boolean>>;
  /**
   * The number of workgroups in x, y and z, each at most 65,535; or their total, which the device distributes over x
   * and y. With a total, the program computes its index as `workgroup_id.x + workgroup_id.y * num_workgroups.x` and
   * must return if that is past the end.
   */
  readonly workgroups: number | readonly [number, number?, number?];
  /** The floating-point operations of the launch, if they rather than its bytes decide how long it takes. */
  readonly flops?: number;
  /**
   * Maximum loop iterations of one invocation, if they grow with the parameters. Software adapters reject more than
   * {@linkcode MAX_ITERATIONS}.
   */
  readonly iterations?: number;
  /** True if tuning must not replace the program, as results may not depend on it. Default: false. */
  readonly fixed?: boolean;
  /** Set if the program computes only parts of the result, which another kernel adds up. */
  readonly parts?: ProgramParts;
}

/** How a launch is made in two: of a program that computes parts, and of the kernel that adds them up. */
export interface ProgramParts {
  /** The parameters of the program. */
  readonly params: Params;
  /**
   * The kernel that adds up. It receives those bindings of the launch that it declares; the program receives the
   * others, and memory for the parts.
   */
  // deno-lint-ignore no-explicit-any -- kernels of any parameters
  readonly sum: Kernel<any>;
  /** The parameters of `sum`. */
  readonly sumParams: Params;
  /** The binding through which `sum` reads the parts of each output. */
  readonly partials: Readonly<Record<string, string>>;
}

/** Byte addresses of bindings in the shared memory; 0 for one that is not given. */
export type Addresses = Readonly<Record<string, number>>;

/** What SIMD implementations run on: threads that run WASM kernels over one shared memory, and BLAS. */
export interface CpuContext {
  /** The memory that all threads share. Bindings are in it. */
  readonly memory: WebAssembly.Memory;
  /** The number of threads, including the calling one. */
  readonly threads: number;
  /** Runs a kernel over `[0, count)` in chunks, on all threads, and waits for them. */
  run(name: string, count: number, chunk: number, ...values: number[]): void;
  /** The machine's BLAS, if there is one, and whether a call uses only its own thread. */
  readonly blas?: { readonly singleThreaded: boolean } | undefined;
}

/** The input of a WASM SIMD implementation. */
export interface SimdJob<P> extends CpuContext {
  /** The address of each binding, with f16 converted to f32 unless it is declared as `half`. */
  readonly at: Addresses;
  /** The dtypes and sizes of the launch's bindings. */
  readonly bindings: Readonly<
    Record<string, { readonly dtype: DType; readonly size: number } | undefined>
  >;
  /** The launch's parameters. */
  readonly params: P;
  /** Allocates memory until the launch ends and returns its address. Throws an `OutOfMemoryError`. */
  scratch(bytes: number): number;
}

/** A computation: its specification and its implementations. */
export interface KernelDefinition<P extends Params> {
  /** The name in errors and timings. */
  readonly name: string;
  /** The storage bindings in `@binding` order. */
  readonly bindings: Readonly<Record<string, BindingSpec<P>>>;
  /**
   * The fields of the uniform struct `Params`, in order; snake case in WGSL. It is bound after the storage bindings.
   */
  readonly params: Readonly<Record<keyof P & string, "u32" | "i32" | "f32">>;
  /** Chooses the GPU program of a launch. Omitted by kernels for the CPU device only. */
  gpu?(params: P, target: GpuTarget): GpuProgram;
  /** The reference implementation: plain TypeScript over typed arrays; a binding left out is `undefined`. */
  // deno-lint-ignore no-explicit-any -- references index arrays of any element type
  cpu(views: Record<string, any>, params: P): void;
  /** The WASM SIMD implementation, tried first. Returning false leaves the launch to the reference implementation. */
  simd?(job: SimdJob<P>): boolean;
  /**
   * The parameter that counts independent units, which is also the first axis of the bindings that advance with them. A
   * launch with a binding over the device's limit is split along it; the other bindings are bound whole. Without it,
   * such a launch is an error.
   */
  readonly split?: NoInfer<keyof P & string>;
  /** The parameter that receives the index of the first unit in a split launch, added to its value. */
  readonly splitStart?: NoInfer<keyof P & string>;
}

/** A {@linkcode KernelDefinition} with what is derived from it. */
export interface Kernel<P extends Params = Params>
  extends KernelDefinition<P>, KernelSpecification {}

/** The arrays that a reference implementation receives. */
export type Views = Record<string, TypedArray>;

/** Declares a kernel. Its functions and launches take exactly the parameters that `params` names. */
export function kernel<N extends string>(
  definition: KernelDefinition<Record<N, number>>,
): Kernel<Record<N, number>>;
/** Declares a kernel whose parameters have an explicit type. */
export function kernel<P extends Params = never>(
  definition: KernelDefinition<NoInfer<P>>,
): Kernel<P>;
export function kernel<P extends Params>(definition: KernelDefinition<P>): Kernel<P> {
  return {
    ...definition,
    slots: slotsOf(definition.bindings),
    fields: Object.entries(definition.params),
  };
}
