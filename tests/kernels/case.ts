/**
 * What a case of `pairs_test.ts` is, and helpers to write them.
 *
 * @module
 */
import type { TypedArray } from "../../src/device/dtype.ts";
import type { Kernel } from "../../src/device/kernel.ts";

/** One launch of a kernel, made by every implementation. */
export interface Case {
  /** The kernel. */
  // deno-lint-ignore no-explicit-any -- kernels of any parameters
  readonly kernel: Kernel<any>;
  /** What is special about it. */
  readonly name: string;
  /** Values of every binding; of one that is written, what was there before (see {@linkcode output}). */
  readonly bindings: Readonly<Record<string, TypedArray | undefined>>;
  /** The parameters. */
  readonly params: Readonly<Record<string, number>>;
  /** Largest difference from the reference, relative to the larger of 1 and the value; 1e-5 where it is left out. */
  readonly tolerance?: number;
  /** What the outputs should be by an independent computation in double precision; the reference is held to it. */
  exact?(): Record<string, ArrayLike<number>>;
  /** The tolerance of `exact`; `tolerance` where it is left out. */
  readonly exactTolerance?: number;
  /** Bytes a binding may have: the case runs on a GPU device opened with that limit, to be split. */
  readonly limit?: number;
  /** So long that loops must be bounded: it also runs where an invocation's loops end after `MAX_ITERATIONS`. */
  readonly long?: boolean;
  /** Brings the outputs into a comparable form, where their order is open. */
  normalise?(outputs: Record<string, TypedArray>): Record<string, TypedArray>;
}

/** Repeatable random numbers in [-scale, scale). */
export function random(size: number, scale = 1, seed = 1): Float32Array<ArrayBuffer> {
  let state = (seed * 2654435761 + size) >>> 0;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (((state >>> 8) / 2 ** 23) - 1) * scale;
  });
}

/** Repeatable random integers in [0, below). */
export function randomIds(size: number, below: number, seed = 1): Int32Array<ArrayBuffer> {
  return Int32Array.from(random(size, 1, seed), (x) => Math.floor((x + 1) / 2 * below) % below);
}

/** The positions (batch, time) of tokens in documents of 1 to `time` tokens. */
export function documentPositions(batch: number, time: number): Int32Array<ArrayBuffer> {
  const positions = new Int32Array(batch * time);
  positions.forEach((_, at) => {
    const token = at % time, row = Math.floor(at / time);
    const begins = token === 0 || (token * token + row) % 29 === 7;
    positions[at] = begins ? 0 : positions[at - 1]! + 1;
  });
  return positions;
}

/** Room for an output, filled with a value that no kernel computes, so that a gap shows. */
export function output(size: number): Float32Array<ArrayBuffer> {
  return new Float32Array(size).fill(-12345.678);
}

/** Lengths of rows that software adapters did not walk to the end: GPT-2's vocabulary, 2^16 + 1 and more. */
export const LONG = [50_257, 65_537, 300_001];
