/**
 * The contract between a kernel and the devices that run it. A kernel is a room with two doors: a WGSL
 * program for the GPU, and the same computation in plain TypeScript for the CPU; some have a third,
 * narrow one to WASM SIMD code (or BLAS) that must give what the TypeScript gives.
 *
 * @module
 */
import type { DType, TypedArray } from "./dtype.ts";

/** A kernel's numbers, by name. */
export type Params = Record<string, number>;

/** How a kernel uses a binding; `update` reads and writes. */
export type Access = "read" | "write" | "update";

/** What the GPU door is told about the launch. */
export interface GpuTarget {
  /** The element type of each binding that is given. */
  readonly dtypes: Readonly<Record<string, DType>>;
  /** Invocations a workgroup may have. */
  readonly maxInvocations: number;
  /** Bytes of workgroup memory. */
  readonly maxWorkgroupBytes: number;
  /** True on adapters that run on the CPU (llvmpipe, SwiftShader), where barriers are dear. */
  readonly software: boolean;
  /** True where `subgroupAdd` and its like may be used. */
  readonly subgroups: boolean;
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
  /** The source, as imported from the `.wgsl` file. */
  readonly wgsl: string;
  /** Values for the source's `const` and `alias` lines (see `template.ts`). */
  readonly constants?: Readonly<Record<string, number | string | boolean>>;
  /**
   * Workgroups in x, y, z, none over 65,535; or a plain number of them, which the device lays out over x and
   * y: the program then finds its own with `workgroup_id.x + workgroup_id.y * num_workgroups.x` and must
   * return when that is past the end.
   */
  readonly workgroups: number | readonly [number, number?, number?];
  /**
   * The most loop iterations of one invocation, where they grow with the parameters; software adapters refuse more
   * than {@linkcode MAX_ITERATIONS}.
   */
  readonly iterations?: number;
}

/** What the WASM door works with. */
export interface SimdJob<P> {
  /** Byte address of each binding in the shared memory; 0 for one that is not given. */
  readonly at: Readonly<Record<string, number>>;
  /** The launch's parameters. */
  readonly params: P;
  /** Runs a WASM export over `[0, count)` in pieces of `chunk`, on all threads; waits for all. */
  run(name: string, count: number, chunk: number, ...args: number[]): void;
  /** Threads that take part. */
  readonly threads: number;
  /** The pool and BLAS, for the helpers of `src/device/cpu/`. */
  // deno-lint-ignore no-explicit-any -- the CPU device narrows it; kernels only hand it on
  readonly context: any;
}

/** How a launch whose bindings are longer than the device can bind is cut into several. */
export interface Split<P> {
  /** The parameter that counts independent units (rows, elements). */
  readonly along: keyof P & string;
  /** Elements per unit of each binding that advances with the units; the others are bound whole. */
  readonly elements: Readonly<Record<string, (params: P) => number>>;
  /** A parameter that must be told the index of the first unit, added to its value. */
  readonly start?: keyof P & string;
}

/** A computation with a GPU program and a CPU twin. */
export interface Kernel<P extends Params = Params> {
  /** As shown in errors and timings. */
  readonly name: string;
  /** Storage bindings in `@binding` order, and how each is used; `name?` may be left out at a launch. */
  readonly bindings: Readonly<Record<string, Access>>;
  /** Bindings that may be left out; a few zero bytes are bound in their place. */
  readonly optional?: readonly string[];
  /** Fields of the uniform struct `Params` in order; it is bound after the last storage binding. */
  readonly params: Readonly<Record<keyof P & string, "u32" | "i32" | "f32">>;
  /** The GPU door. */
  gpu(params: P, target: GpuTarget): GpuProgram;
  /** The CPU twin, the reference: plain TypeScript over typed arrays; a binding left out is `undefined`. */
  // deno-lint-ignore no-explicit-any -- twins index arrays of any element type
  cpu(views: Record<string, any>, params: P): void;
  /** The WASM door, tried first when every given binding is 4 bytes wide; false leaves it to the twin. */
  simd?(job: SimdJob<P>): boolean;
  /** How to cut a launch that is too long to bind; without it such a launch is an error. */
  readonly split?: Split<P>;
}

/** The arrays a twin gets. */
export type Views = Record<string, TypedArray>;

/** Declares a kernel; only there so that its parameters are inferred. */
export function kernel<P extends Params>(definition: Kernel<P>): Kernel<P> {
  return definition;
}
