/**
 * How kernels that reduce along rows are launched. Their WGSL is written once, in terms of the functions `rowOf`,
 * `laneOf`, `sumOfLanes` and `maxOfLanes`. One of two implementations of these is prepended: one invocation per row,
 * or one workgroup per row.
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
  /** One invocation per row. */
  readonly serial: string;
  /** One workgroup per row. */
  readonly tree: string;
}

/** The shape of a launch. */
export interface RowLaunch {
  /** The number of rows. */
  readonly rows: number;
  /** The elements of a row. */
  readonly columns: number;
  /** The number of passes over a row; each may have at most four reductions over the lanes. */
  readonly passes: number;
  /** True if the kernel requires a workgroup per row. Default: false. */
  readonly tree?: boolean;
  /** False if the elements of a row are not contiguous in memory. Default: true. */
  readonly contiguous?: boolean;
  /** The axis that runs along the row: bindings that end in it are read four elements at a time. */
  readonly axis?: string;
  /** Other constants of the kernel. */
  readonly constants?: Readonly<Record<string, number | string | boolean>>;
}

/** Prepends to a kernel what row kernels share. */
export function rowSources(kernel: string): RowSources {
  return { serial: common + serial + kernel, tree: common + tree + kernel };
}

/**
 * Returns the program for a launch on a device: one invocation per row on software adapters and for rows that are not
 * contiguous, as long as {@linkcode MAX_ITERATIONS} allows it, otherwise one workgroup per row.
 *
 * An invocation in a workgroup of L loops at most `passes * (ceil(units / L) + 4 log2 L)` times, where units are the
 * elements of a row or groups of four: with L = 256, 3 passes over 300,001 elements are 3,612.
 */
export function rowProgram(sources: RowSources, target: GpuTarget, launch: RowLaunch): GpuProgram {
  const { rows, columns, passes, contiguous = true, tree = false, axis } = launch;
  // Four elements at a time take half the time on software adapters, and fewer instructions everywhere.
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
  // On a software adapter 8 lanes are one SIMD vector, which never waits at a barrier.
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

/** The rows that a thread takes at a time, so that each piece is worth handing out. */
export function rowChunk(columns: number): number {
  return Math.max(1, Math.floor(16384 / Math.max(1, columns)));
}

/** The number at an address, for a WASM SIMD implementation. */
export function numberAt<P>(job: SimdJob<P>, address: number): number {
  return new Float32Array(job.memory.buffer, address, 1)[0]!;
}
