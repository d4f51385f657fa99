/**
 * What a kernel is. Its specification (bindings, parameters, how it splits) is declared once; behind it stand a
 * WGSL program for GPUs, a reference implementation in plain TypeScript, and for most a WASM SIMD one.
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

/** What a kernel is told about the GPU and the launch when it chooses its program. */
export interface GpuTarget {
  /** The element type of each binding that is given. */
  readonly dtypes: Readonly<Record<string, DType>>;
  /** Invocations a workgroup may have. */
  readonly maxInvocations: number;
  /** Bytes of workgroup memory. */
  readonly maxWorkgroupBytes: number;
  /** True on adapters that run on the CPU (llvmpipe, SwiftShader), where barriers are expensive. */
  readonly software: boolean;
  /** Workgroups below which a launch leaves parts of the GPU idle; 1 on software adapters. */
  readonly minWorkgroups: number;
  /** True where `subgroupAdd` and its like may be used. */
  readonly subgroups: boolean;
  /** True where there are subgroup matrices of 16 x 16 in f16 with sums in f32, and subgroups of 32. */
  readonly matrixUnits: boolean;
  /** Invocations of a subgroup where all have the same number of them, else 0. */
  readonly subgroupSize: number;
}

/**
 * The most iterations of one invocation, summed over all its loops (nested ones multiplied), on any adapter.
 * Mesa's llvmpipe ends every loop without an error after 65,535 of them (`LP_MAX_TGSI_LOOP_ITERATIONS`); half of
 * that leaves room for what a driver counts besides. More work takes more lanes or more launches.
 */
export const MAX_ITERATIONS = 32768;

/** One GPU program and how many workgroups of it to launch. */
export interface GpuProgram {
  /** The source, as imported from the `.wgsl` file: the header is put in front of it (see `wgslHeader`). */
  readonly wgsl: string;
  /** The axis, or `*`: the program sees the bindings whose last axis it is as `vec4`. Default: none. */
  readonly vec4?: string | false;
  /** Values for the source's `const` and `alias` lines (see `template.ts`). */
  readonly constants?: Readonly<Record<string, number | string | boolean>>;
  /**
   * Workgroups in x, y, z, none over 65,535; or a plain number of them, which the device lays out over x and
   * y: the program then finds its own with `workgroup_id.x + workgroup_id.y * num_workgroups.x` and must
   * return when that is past the end.
   */
  readonly workgroups: number | readonly [number, number?, number?];
  /** Floating-point operations of the launch, where they and not its bytes decide how long it takes. */
  readonly flops?: number;
  /**
   * The most loop iterations of one invocation, where they grow with the parameters; software adapters refuse more
   * than {@linkcode MAX_ITERATIONS}.
   */
  readonly iterations?: number;
}

/** Byte addresses of bindings in the memory that all threads share; 0 for one that is not given. */
export type Addresses = Readonly<Record<string, number>>;

/** What SIMD implementations compute with: threads that run WASM kernels over one shared memory, and BLAS. */
export interface CpuContext {
  /** The memory that all threads share; bindings lie in it. */
  readonly memory: WebAssembly.Memory;
  /** Threads that take part, the calling one included. */
  readonly threads: number;
  /** Runs a kernel over `[0, count)` in pieces of `chunk`, on all threads; waits for all. */
  run(name: string, count: number, chunk: number, ...values: number[]): void;
  /** The machine's BLAS, where there is one: whether a call uses its own thread alone. */
  readonly blas?: { readonly singleThreaded: boolean } | undefined;
}

/** What the WASM SIMD implementation is given. */
export interface SimdJob<P> extends CpuContext {
  /** Where each binding lies, f16 converted to f32 unless it is declared as `half`. */
  readonly at: Addresses;
  /** The element types and numbers of elements of the launch's bindings. */
  readonly bindings: Readonly<
    Record<string, { readonly dtype: DType; readonly size: number } | undefined>
  >;
  /** The launch's parameters. */
  readonly params: P;
  /** The address of memory for so many bytes, until the launch ends. Throws an `OutOfMemoryError`. */
  scratch(bytes: number): number;
}

/** A computation: its specification and its implementations. */
export interface KernelDefinition<P extends Params> {
  /** As shown in errors and timings. */
  readonly name: string;
  /** Storage bindings in `@binding` order. */
  readonly bindings: Readonly<Record<string, BindingSpec<P>>>;
  /** Fields of the uniform struct `Params` in order, in WGSL in snake case; it is bound after the storage bindings. */
  readonly params: Readonly<Record<keyof P & string, "u32" | "i32" | "f32">>;
  /** Chooses the GPU program of a launch; left out by a kernel that is launched on the CPU device only. */
  gpu?(params: P, target: GpuTarget): GpuProgram;
  /** The reference implementation: plain TypeScript over typed arrays; a binding left out is `undefined`. */
  // deno-lint-ignore no-explicit-any -- references index arrays of any element type
  cpu(views: Record<string, any>, params: P): void;
  /** The WASM SIMD implementation, tried first; false leaves the launch to the reference. */
  simd?(job: SimdJob<P>): boolean;
  /**
   * The parameter that counts independent units, and the first axis of the bindings that advance with them: a launch
   * with a binding over the device's limit is split along it. The others are bound whole. Without it such a launch is
   * an error.
   */
  readonly split?: NoInfer<keyof P & string>;
  /** The parameter that is told the index of the first unit of a split launch, added to its value. */
  readonly splitStart?: NoInfer<keyof P & string>;
}

/** A {@linkcode KernelDefinition} with what follows from it. */
export interface Kernel<P extends Params = Params>
  extends KernelDefinition<P>, KernelSpecification {}

/** The arrays that a reference implementation is given. */
export type Views = Record<string, TypedArray>;

/** Declares a kernel. Its functions and its launches take exactly the parameters that `params` names. */
export function kernel<N extends string>(
  definition: KernelDefinition<Record<N, number>>,
): Kernel<Record<N, number>>;
/** Declares a kernel whose parameters have a type of their own. */
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
