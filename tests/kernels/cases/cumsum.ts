import { cumsum } from "../../../kernels/rows/cumsum.ts";
import type { TypedArray } from "../../../src/device/dtype.ts";
import { type Case, LONG, output, random } from "../case.ts";

type Sizes = readonly [outer: number, columns: number, inner: number];

/** The sums in double precision. */
function sums(x: TypedArray, [outer, columns, inner]: Sizes, reverse: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let o = 0; o < outer; o++) {
    for (let c = 0; c < inner; c++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) {
        const at = (o * columns + (reverse ? columns - 1 - k : k)) * inner + c;
        y[at] = sum += x[at];
      }
    }
  }
  return y;
}

function summed(
  sizes: Sizes,
  reverse = 0,
  more: Partial<Case> = {},
  x: TypedArray = random(sizes[0] * sizes[1] * sizes[2]),
): Case {
  const [outer, columns, inner] = sizes;
  const y = x instanceof Float32Array ? output(x.length) : x.slice();
  return {
    kernel: cumsum,
    name: `[${sizes.join(", ")}]${reverse ? " from the end" : ""}`,
    bindings: { x, y },
    params: { outer, columns, inner, reverse },
    tolerance: 1e-5,
    exact: () => ({ y: sums(x, sizes, reverse) }),
    ...more,
  };
}

const sizes: Sizes[] = [[1, 1, 1], [3, 37, 1], [2, 256, 1], [2, 37, 5], [1, 1000, 3], [0, 4, 1]];

export const cases: Case[] = [
  ...[0, 1].flatMap((reverse) => sizes.map((one) => summed(one, reverse))),
  // Numbers of one sign, so that the tolerance is one of the sums.
  ...LONG.map((columns) =>
    summed(
      [2, columns, 1],
      0,
      { long: true, exactTolerance: 1e-6 },
      random(2 * columns).map(Math.abs),
    )
  ),
  summed([2, 0, 3], 0, { name: "of nothing" }),
  summed([256, 64, 1], 0, { name: "over the binding limit", limit: 16_384 }),
  summed([1, 70, 1], 1, { name: "f16", tolerance: 1e-3 }, Float16Array.from(random(70))),
  summed([2, 5, 1], 0, { name: "i32" }, Int32Array.of(-7, 2, 100000, -3, 4, 1, 2, 3, 4, 5)),
  {
    ...summed([1, 3, 1], 0, {}, Uint32Array.of(4000000000, 4000000000, 1)),
    name: "u32 that wraps around",
    exact: () => ({ y: [4000000000, 3705032704, 3705032705] }),
  },
];
