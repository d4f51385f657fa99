import { rotary } from "../../../kernels/attention/rotary.ts";
import { sinusoidTable } from "../../../src/ops/rotary.ts";
import { type Case, output, random } from "../case.ts";

function turned(
  [batch, length, heads, width]: number[],
  halfSplit: number,
  direction: number,
  more: Partial<Case> = {},
  positions?: Int32Array,
  elements = width,
): Case {
  const position = 3,
    tableRows = position + length + 2,
    rows = batch * length * heads,
    x = random(rows * width);
  return {
    kernel: rotary,
    name: `${batch} x ${length} x ${heads} x ${width}, ${halfSplit ? "half-split" : "interleaved"}`,
    bindings: { x, turns: table(tableRows, width, elements), positions, y: output(rows * width) },
    params: {
      ...{ rows, length, heads, width, turned: elements, position, tableRows, firstRow: 0 },
      ...{ direction, halfSplit },
    },
    exact: () => {
      const y = Float64Array.from(x);
      for (let row = 0; row < rows; row++) {
        const first = positions?.[Math.floor(row / heads / length)] ?? position;
        const time = first + Math.floor(row / heads) % length;
        for (let i = 0; i < elements / 2; i++) {
          const angle = direction * time * 10000 ** (-2 * i / elements);
          const a = row * width + (halfSplit ? i : 2 * i), b = a + (halfSplit ? elements / 2 : 1);
          y[a] = x[a] * Math.cos(angle) - x[b] * Math.sin(angle);
          y[b] = x[a] * Math.sin(angle) + x[b] * Math.cos(angle);
        }
      }
      return { y };
    },
    ...more,
  };
}

/** Cosines and sines of so many elements, in rows of `width`. */
function table(rows: number, width: number, elements: number): Float32Array {
  const turns = new Float32Array(rows * width), own = sinusoidTable(rows, elements);
  for (let row = 0; row < rows; row++) {
    turns.set(own.subarray(row * elements, (row + 1) * elements), row * width);
  }
  return turns;
}

export const cases: Case[] = [
  turned([2, 5, 3, 16], 0, 1),
  turned([2, 5, 3, 16], 1, -1),
  turned([2, 5, 3, 6], 0, -1),
  turned([2, 5, 3, 12], 1, 1),
  ...[[16, 8], [24, 16], [12, 8], [10, 4], [8, 0]].flatMap(([width, elements]) =>
    [0, 1].map((half) =>
      turned(
        [2, 5, 3, width],
        half,
        1,
        {
          name: `first ${elements} of ${width}, ${half ? "half-split" : "interleaved"}`,
        },
        undefined,
        elements,
      )
    )
  ),
  turned([3, 2, 3, 16], 0, 1, { name: "own positions" }, Int32Array.of(5, 0, 2)),
  turned([3, 1, 2, 6], 1, -1, { name: "own positions, half-split" }, Int32Array.of(1, 4, 5)),
  turned(
    [7, 6, 5, 8],
    0,
    1,
    { name: "own positions over the limit", limit: 1024 },
    Int32Array.of(5, 0, 2, 1, 4, 3, 5),
  ),
  turned([0, 5, 3, 8], 0, 1),
  turned([7, 30, 2, 8], 0, 1, { name: "over the binding limit", limit: 4096 }),
  turned([1, 4, 1, 8], 0, 1, {
    name: "f16",
    bindings: {
      x: Float16Array.from(random(32)),
      turns: sinusoidTable(9, 8),
      y: new Float16Array(32),
    },
    tolerance: 2e-3,
    exact: undefined,
  }),
];
