/**
 * Sums, maxima and minima along one axis of `[outer, reduced, inner]`.
 *
 * @module
 */
import { type Kernel, kernel, type SimdJob } from "../../src/device/kernel.ts";
import wgsl from "./reduce.wgsl" with { type: "text" };

/** Parameters of {@linkcode reduceKernels}. */
export type ReduceParams = {
  /** The number of elements of the result: outer x slabs x inner. */
  count: number;
  /** The length of the reduced axis. */
  reduced: number;
  /** The stride of the reduced axis. */
  inner: number;
  /** The number of slabs into which the reduced axis is cut; each gives a result. */
  slabs: number;
  /** The length of a slab; the last may be shorter. */
  length: number;
  /** The factor of a sum of floats. */
  scale: number;
  /** 1 if x is f32 or f16. */
  float: number;
};

interface Reduction {
  readonly code: number;
  start(float: number): number;
  combine(a: number, b: number): number;
  simd?(job: SimdJob<ReduceParams>): boolean;
}

function reduction(name: string, { code, start, combine, simd }: Reduction): Kernel<ReduceParams> {
  return kernel<ReduceParams>({
    name,
    bindings: {
      x: { read: ({ inner, slabs }) => inner === 1 && slabs === 1 ? "count reduced" : "*" },
      y: { write: "count" },
    },
    params: {
      count: "u32",
      reduced: "u32",
      inner: "u32",
      slabs: "u32",
      length: "u32",
      scale: "f32",
      float: "u32",
    },
    gpu: ({ count, length }, { dtypes }) => ({
      wgsl,
      constants: {
        C: dtypes.x === "f16" ? "f32" : dtypes.x!,
        OP: code,
      },
      workgroups: Math.ceil(count / 64),
      iterations: Math.ceil(length / 4) + 3,
    }),
    cpu({ x, y }, { count, reduced, inner, slabs, length, scale, float }) {
      for (let i = 0; i < count; i++) {
        const c = i % inner;
        const rest = Math.floor(i / inner);
        const from = (rest % slabs) * length;
        const to = Math.min(from + length, reduced);
        const base = Math.floor(rest / slabs) * reduced * inner + c;
        let result = start(float);
        for (let k = from; k < to; k++) result = combine(result, x[base + k * inner]);
        y[i] = code === 0 && float ? result * scale : result;
      }
    },
    ...(simd && {
      simd(job: SimdJob<ReduceParams>): boolean {
        const { float, reduced, count } = job.params;
        return float === 1 && reduced > 0 && count > 0 && simd(job);
      },
    }),
    split: "count",
  });
}

/** Reduces the slabs of every row with a WASM export for rows of one length. */
function simdRows({ at, params, run }: SimdJob<ReduceParams>, name: string): void {
  const { count, reduced, slabs, length } = params;
  const rows = (x: number, y: number, many: number, columns: number): void =>
    run(
      name,
      many,
      Math.max(1, Math.floor(16384 / columns)),
      at.x! + 4 * x,
      at.y! + 4 * y,
      columns,
    );
  if (slabs * length === reduced) return rows(0, 0, count, length);
  for (let o = 0; o < count / slabs; o++) {
    const last = (slabs - 1) * length;
    if (slabs > 1) rows(o * reduced, o * slabs, slabs - 1, length);
    rows(o * reduced + last, o * slabs + slabs - 1, 1, reduced - last);
  }
}

/** Sums the columns of every slab. */
function simdColumns({ at, params, run, threads }: SimdJob<ReduceParams>): void {
  const { count, reduced, inner, slabs, length } = params;
  const chunk = Math.max(16, Math.ceil(inner / threads / 16) * 16);
  for (let i = 0; i * inner < count; i++) {
    const from = (i % slabs) * length;
    const x = at.x! + 4 * (Math.floor(i / slabs) * reduced + from) * inner;
    const rows = Math.min(length, reduced - from);
    run("column_sum", inner, chunk, x, at.y! + 4 * i * inner, rows, inner, 0);
  }
}

/** From x [outer, reduced, inner] to y [outer, slabs, inner]; f16 is computed in f32. */
export const reduceKernels = {
  /** Sums; the sum of no elements is 0. */
  sum: reduction("sum", {
    code: 0,
    start: () => 0,
    combine: (a, b) => a + b,
    simd(job) {
      const { at, params, run } = job;
      if (params.inner === 1) simdRows(job, "row_sum");
      else simdColumns(job);
      if (params.scale !== 1) run("mul_scalar", params.count, 16384, at.y!, params.scale, at.y!);
      return true;
    },
  }),
  /** Maxima; NaN if any element is NaN. */
  max: reduction("max", {
    code: 1,
    start: (float) => float ? -Infinity : -(2 ** 31),
    combine: Math.max,
    simd(job) {
      if (job.params.inner !== 1) return false;
      simdRows(job, "row_max");
      return true;
    },
  }),
  /** Minima; NaN if any element is NaN. */
  min: reduction("min", {
    code: 2,
    start: (float) => float ? Infinity : 2 ** 32,
    combine: Math.min,
  }),
} as const satisfies Record<string, Kernel<ReduceParams>>;
