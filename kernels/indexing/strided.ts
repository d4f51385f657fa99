/**
 * Copies between a dense tensor and a strided view of another: permutations, slices, broadcasts, concatenations.
 *
 * @module
 */
import { BYTES } from "../../src/device/dtype.ts";
import { type Kernel, kernel, type SimdJob } from "../../src/device/kernel.ts";
import { mergeAxes } from "../elementwise/elementwise.ts";
import wgsl from "./strided.wgsl" with { type: "text" };

/** The most axes after contiguous neighbours have been merged. */
const MAX_STRIDED_AXES = 6;

/** Parameters of {@linkcode stridedKernels}; {@linkcode stridedParams} makes them. */
export type StridedParams = {
  /** The number of elements copied. */
  count: number;
  /** The offset of the first element on the strided side. */
  base: number;
  /** The number of axes in use. */
  rank: number;
  /** 4 if runs of four are contiguous on both sides, otherwise 1. */
  width: number;
  /** The lengths of the axes, `d0` ... `d5`, and their strides on the strided side, `s0` ... `s5`. */
  [axis: `d${number}` | `s${number}`]: number;
};

/**
 * Returns the parameters of a copy of `shape` elements with the given strides on the strided side. Throws a
 * `RangeError` if too many axes are left after merging.
 */
export function stridedParams(
  name: string,
  shape: readonly number[],
  strides: readonly number[],
  base: number,
): StridedParams {
  const { lengths, walks: [walk] } = mergeAxes(shape, [strides]);
  if (lengths.length > MAX_STRIDED_AXES) {
    throw new RangeError(
      `${name}: expected at most ${MAX_STRIDED_AXES} axes that do not lie side by side but got ` +
        `${lengths.length} in shape [${shape.join(", ")}]`,
    );
  }
  const last = lengths.length - 1;
  const fours = walk![last] === 1 && lengths[last]! % 4 === 0 && base % 4 === 0 &&
    walk!.every((stride, axis) => axis === last || stride % 4 === 0);
  const params: StridedParams = {
    count: lengths.reduce((product, length) => product * length, 1),
    base,
    rank: lengths.length,
    width: fours ? 4 : 1,
  };
  for (let axis = 0; axis < MAX_STRIDED_AXES; axis++) {
    params[`d${axis}`] = lengths[axis] ?? 1;
    params[`s${axis}`] = walk![axis] ?? 0;
  }
  return params;
}

/** Calls `visit` with the index on the strided side of every element, in dense order. */
function walkStrided(params: StridedParams, visit: (dense: number, strided: number) => void): void {
  const { count, base, rank } = params;
  const at = new Array<number>(rank).fill(0);
  let strided = base;
  for (let i = 0; i < count; i++) {
    visit(i, strided);
    for (let axis = rank - 1; axis >= 0; axis--) {
      strided += params[`s${axis}`]!;
      if (++at[axis]! < params[`d${axis}`]!) break;
      strided -= params[`s${axis}`]! * at[axis]!;
      at[axis] = 0;
    }
  }
}

/** Runs a WASM export of four axes over all of them. */
function simdMoves(
  { at, bindings, params, run }: SimdJob<StridedParams>,
  scatter: boolean,
): boolean {
  const bytes = BYTES[bindings.x!.dtype];
  const { rank, base } = params;
  const lengths = [1, 1, 1, 1];
  const strides = [0, 0, 0, 0];
  for (let axis = 0; axis < Math.min(rank, 4); axis++) {
    lengths[4 - Math.min(rank, 4) + axis] = params[`d${rank - Math.min(rank, 4) + axis}`]!;
    strides[4 - Math.min(rank, 4) + axis] = params[`s${rank - Math.min(rank, 4) + axis}`]!;
  }
  const [d0, d1, d2, d3] = lengths;
  const rows = d0! * d1! * d2!;
  const chunk = Math.max(1, Math.floor(16384 / Math.max(1, d3!)));
  const block = rows * d3!;
  // Axes beyond four are iterated over here.
  const outer = { ...params, rank: Math.max(0, rank - 4), count: block ? params.count / block : 0 };
  walkStrided({ ...outer, base }, (i, strided) => {
    const dense = bytes * i * block;
    const x = at.x! + (scatter ? dense : bytes * strided);
    const y = at.y! + (scatter ? bytes * strided : dense);
    const name = scatter ? "strided_write" : "strided_copy";
    run(name, rows, chunk, x, y, d1!, d2!, d3!, ...strides, bytes === 2 ? 1 : 0);
  });
  return true;
}

function strided(name: string, scatter: boolean): Kernel<StridedParams> {
  return kernel<StridedParams>({
    name,
    bindings: {
      x: { read: "*", half: true },
      y: { ...scatter ? { update: "*" } : { write: "*" }, half: true },
    },
    params: {
      count: "u32",
      base: "i32",
      rank: "u32",
      width: "u32",
      d0: "u32",
      d1: "u32",
      d2: "u32",
      d3: "u32",
      d4: "u32",
      d5: "u32",
      s0: "i32",
      s1: "i32",
      s2: "i32",
      s3: "i32",
      s4: "i32",
      s5: "i32",
    },
    gpu: ({ count, rank, width }) => ({
      wgsl,
      vec4: width === 4 && "*",
      constants: { RANK: rank, SCATTER: scatter },
      workgroups: Math.ceil(count / width / 64),
    }),
    cpu({ x, y }, params) {
      walkStrided(params, (dense, strided) => {
        if (!scatter) y[dense] = x[strided];
        else y[strided] = x[dense];
      });
    },
    simd: (job) => simdMoves(job, scatter),
  });
}

/** Strides are in elements; one may be 0 (only when reading) or negative. Any dtype. */
export const stridedKernels = {
  /** y, dense, from x, strided. */
  gather: strided("strided_copy", false),
  /** y, strided, from x, dense. */
  scatter: strided("strided_write", true),
} as const satisfies Record<string, Kernel<StridedParams>>;
