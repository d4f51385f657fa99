import { sumOfSquares } from "../../../kernels/optimizer/grad_norm.ts";
import { type Case, output, random } from "../case.ts";

function summed(x: Float32Array | Float16Array, first = 0, more: Partial<Case> = {}): Case {
  const blocks = Math.ceil(x.length / 4096);
  const partials = output(first + blocks + 1); // one more, which must stay as it is
  return {
    kernel: sumOfSquares,
    name: `${x.length} elements of ${x.constructor.name} to place ${first}`,
    bindings: { x, partials },
    params: { count: x.length, first },
    exact: () => {
      const sums = Array.from(partials);
      for (let block = 0; block < blocks; block++) {
        sums[first + block] = 0;
        for (const value of x.slice(4096 * block, 4096 * (block + 1))) {
          sums[first + block] += value * value;
        }
      }
      return { partials: sums };
    },
    tolerance: 2e-6,
    ...more,
  };
}

export const cases: Case[] = [
  summed(random(0)),
  summed(random(1)),
  summed(random(4096), 5),
  summed(random(4097)),
  summed(random(50_004, 3), 2),
  summed(random(50_001, 3)),
  summed(Float16Array.from(random(5000, 300))),
  summed(Float16Array.from(random(5001, 300)), 1),
  summed(Float32Array.of(1, 2, Infinity), 0, { name: "an infinite one" }),
];
