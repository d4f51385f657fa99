import { topKKernel } from "../../../kernels/sampling/top_k.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import { type Case, output, random } from "../case.ts";

function found(
  rows: number,
  columns: number,
  k: number,
  x: TypedArray = random(rows * columns, 2).map((value) => Math.round(value * 20)),
  more: Partial<Case> = {},
): Case {
  const values = x instanceof Float16Array ? new Float16Array(rows * k) : output(rows * k);
  return {
    kernel: topKKernel,
    name: `${k} of [${rows}, ${columns}]`,
    bindings: { x, values, indices: new Int32Array(rows * k).fill(-9) },
    params: { rows, columns, k, first: 0, end: k },
    tolerance: 0,
    ...more,
  };
}

/** A launch that goes on where one of the first five ranks ended. */
function lastRanks(): Case {
  const begun = found(1, 9, 9);
  topKKernel.cpu(begun.bindings, { rows: 1, columns: 9, k: 9, first: 0, end: 5 });
  const params = { rows: 1, columns: 9, k: 9, first: 5, end: 9 };
  return { ...begun, name: "the last ranks", params };
}

const odd = Float32Array.of(-Infinity, 0, -0, Infinity, NaN, 1, NaN, -1);

export const cases: Case[] = [
  found(3, 37, 5),
  found(1, 1, 1),
  found(2, 5000, 8),
  found(2, 9, 9),
  found(1, 8, 8, odd, {
    name: "NaN, zeros and infinities",
    exact: () => ({ indices: [4, 6, 3, 5, 1, 2, 7, 0] }),
  }),
  found(2, 30, 4, Float16Array.from(random(60)), { name: "f16" }),
  found(2, 300_001, 27, undefined, { long: true }),
  lastRanks(),
  found(64, 64, 4, undefined, { name: "over the binding limit", limit: 4096 }),
];
