import { writeInt8Rows } from "../../../kernels/indexing/write_int8_rows.ts";
import { fromInt8, int8Words } from "../../../src/device/quantised.ts";
import { type Case, random } from "../case.ts";

/** The scale of codes of 1 that are there before anything is written. */
const BEFORE = 0.5;

function written(
  [batch, time, heads, d, capacity]: [number, number, number, number, number],
  position: number,
  positions?: number[],
  more: Partial<Case> = {},
): Case {
  const words = int8Words(d), places = batch * capacity * heads;
  const x = random(batch * time * heads * d, 3, 2);
  x.fill(0, 0, d); // a head without a largest number
  const y = new Uint32Array(places * words).fill(0x01010101);
  const scales = new Float32Array(y.buffer);
  for (let place = 1; place <= places; place++) scales[place * words - 1] = BEFORE;
  return {
    kernel: writeInt8Rows,
    name: `${time} of ${heads} x ${d} into ${batch} of ${capacity}${positions ? ", ragged" : ""}`,
    bindings: { x, positions: positions && Int32Array.from(positions), y },
    params: { batch, time, heads, d, words, capacity, position },
    normalise({ y }) {
      const numbers = new Float32Array(places * d);
      for (let place = 0; place < places; place++) {
        numbers.set(fromInt8(y as Uint32Array, place * words, d), place * d);
      }
      return { y: numbers };
    },
    exact() {
      const after = new Array<number>(places * d).fill(BEFORE);
      for (let b = 0; b < batch; b++) {
        for (let t = 0; t < time; t++) {
          const at = position + (positions?.[b] ?? 0) + t;
          if (at >= capacity) continue;
          for (let head = 0; head < heads; head++) {
            const from = ((b * time + t) * heads + head) * d;
            const numbers = Array.from(x.subarray(from, from + d));
            const scale = Math.max(...numbers.map(Math.abs)) / 127;
            const to = ((b * capacity + at) * heads + head) * d;
            numbers.forEach((number, c) =>
              after[to + c] = scale && Math.round(number / scale) * scale
            );
          }
        }
      }
      return { y: after };
    },
    ...more,
  };
}

export const cases: Case[] = [
  written([1, 1, 1, 1, 1], 0),
  written([3, 2, 2, 7, 5], 3),
  written([2, 1, 3, 64, 16], 15),
  written([4, 1, 1, 12, 9], 0, [0, 8, 3, 5]),
  written([3, 4, 2, 80, 6], 1, [4, 0, 2]),
  written([2, 0, 1, 4, 6], 1),
  written([150, 2, 1, 28, 16], 4, Array.from({ length: 150 }, (_, b) => b % 10), {
    name: "sequences over the binding limit",
    limit: 32_768,
  }),
];
