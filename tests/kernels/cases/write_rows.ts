import { writeRows } from "../../../kernels/indexing/write_rows.ts";
import { type Case, random } from "../case.ts";

function written(
  [batch, time, width, capacity]: [number, number, number, number],
  position: number,
  positions?: number[],
  more: Partial<Case> = {},
): Case {
  const x = random(batch * time * width, 1, 2);
  const y = random(batch * capacity * width, 1, 3);
  return {
    kernel: writeRows,
    name: `${time} rows of ${width} into ${batch} of ${capacity}${positions ? ", ragged" : ""}`,
    bindings: { x, positions: positions && Int32Array.from(positions), y },
    params: { batch, time, width, capacity, position },
    exact() {
      const after = Array.from(y);
      for (let b = 0; b < batch; b++) {
        for (let t = 0; t < time; t++) {
          const row = position + (positions?.[b] ?? 0) + t;
          if (row >= capacity) continue;
          for (let c = 0; c < width; c++) {
            after[(b * capacity + row) * width + c] = x[(b * time + t) * width + c];
          }
        }
      }
      return { y: after };
    },
    tolerance: 0,
    ...more,
  };
}

export const cases: Case[] = [
  written([1, 1, 1, 1], 0),
  written([3, 2, 7, 5], 3),
  written([2, 1, 64, 16], 15),
  written([4, 1, 12, 9], 0, [0, 8, 3, 5]),
  written([3, 4, 4, 6], 1, [4, 0, 2]),
  written([2, 0, 4, 6], 1),
  written([150, 2, 8, 16], 4, Array.from({ length: 150 }, (_, b) => b % 10), {
    name: "sequences over the binding limit",
    limit: 32_768,
  }),
];
