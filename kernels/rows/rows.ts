/**
 * How kernels that reduce along rows are launched. Their WGSL is written once, in terms of the functions
 * `rowOf`, `laneOf`, `sumOfLanes` and `maxOfLanes`; what stands behind those is put in front of it:
 * one invocation a row, or a workgroup a row.
 *
 * @module
 */
import {
  type GpuProgram,
  type GpuTarget,
  MAX_ITERATIONS,
  type SimdJob,
} from "../../src/device/kernel.ts";
import common from "./rows.wgsl" with { type: "text" };
import serial from "./rows_serial.wgsl" with { type: "text" };
import tree from "./rows_tree.wgsl" with { type: "text" };

/** The two programs of a row kernel. */
export interface RowSources {
  /** One invocation a row. */
  readonly serial: string;
  /** A workgroup a row. */
  readonly tree: string;
}

/** The shape of a launch. */
export interface RowLaunch {
  /** Rows. */
  readonly rows: number;
  /** Elements of a row. */
  readonly columns: number;
  /** How often the program goes through a row; at most four reductions over the lanes go with each pass. */
  readonly passes: number;
  /** True where the kernel works as a workgroup a row only. Default: false. */
  readonly tree?: boolean;
  /** False where a row's elements are not neighbours in memory. Default: true. */
  readonly contiguous?: boolean;
  /** The axis whose elements lie along the row: bindings that end in it are read four elements at a time. */
  readonly axis?: string;
  /** The kernel's other constants. */
  readonly constants?: Readonly<Record<string, number | string | boolean>>;
}

/** Puts what row kernels share in front of one. */
export function rowSources(kernel: string): RowSources {
  return { serial: common + serial + kernel, tree: common + tree + kernel };
}

/**
 * The program for a launch on this device: one invocation a row on software adapters and for rows whose elements
 * lie apart, as long as {@linkcode MAX_ITERATIONS} allow it, else a workgroup a row.
 *
 * An invocation of a workgroup of L loops `passes * (ceil(units / L) + 4 log2 L)` times at most, units being the
 * elements of a row or fours of them: with L = 256, 3 passes over 300,001 elements are 3,612.
 */
export function rowProgram(sources: RowSources, target: GpuTarget, launch: RowLaunch): GpuProgram {
  const { rows, columns, passes, contiguous = true, tree = false, axis } = launch;
  // Four elements at a time: half the time on software adapters, fewer instructions everywhere.
  const vec4 = contiguous && columns % 4 === 0 && axis !== undefined && axis;
  const constants: Record<string, number | string | boolean> = {
    ...launch.constants,
    ...(vec4 ? { I: "vec4<u32>", STEP: "vec4<u32>(0u, 1u, 2u, 3u)" } : {}),
  };
  const units = vec4 ? columns / 4 : columns;
  const iterations = (lanes: number) => passes * (Math.ceil(units / lanes) + 4 * Math.log2(lanes));
  if (!tree && (target.software || !contiguous) && iterations(1) <= MAX_ITERATIONS) {
    const group = target.software ? 8 : 64;
    return {
      wgsl: sources.serial,
      vec4,
      constants: { ...constants, GROUP: group },
      workgroups: Math.ceil(rows / group),
      iterations: iterations(1),
    };
  }
  // On a software adapter 8 lanes are one SIMD vector, which waits for no other at a barrier.
  let group = target.software ? 8 : 32;
  const wanted = target.software ? 8 : Math.min(256, units);
  while (group < wanted || iterations(group) > MAX_ITERATIONS) {
    if (group * 2 > target.maxInvocations) break;
    group *= 2;
  }
  return {
    wgsl: sources.tree,
    vec4,
    constants: { ...constants, GROUP: group },
    workgroups: rows,
    iterations: iterations(group),
  };
}

/** Rows for one thread to take at a time, so that each piece of work is worth handing out. */
export function rowChunk(columns: number): number {
  return Math.max(1, Math.floor(16384 / Math.max(1, columns)));
}

/** The number at an address, for a WASM SIMD implementation. */
export function numberAt<P>(job: SimdJob<P>, address: number): number {
  return new Float32Array(job.memory.buffer, address, 1)[0]!;
}
