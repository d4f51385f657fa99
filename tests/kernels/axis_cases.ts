/**
 * Cases of kernels that work along one axis of (outer, columns, inner).
 *
 * @module
 */
import type { Kernel } from "../../src/device/kernel.ts";
import type { AxisParams } from "../../kernels/rows/softmax.ts";
import { type Case, output, random } from "./case.ts";

const SHAPES = [[66_000, 2, 1], [3, 12, 1], [5, 13, 1], [2, 1500, 1], [3, 5, 4], [2, 7, 3], [
  0,
  8,
  1,
], [4, 0, 1]];

/** Lengths of rows that software adapters did not walk to the end: GPT-2's vocabulary, 2^16 + 1 and more. */
export const LONG = [50_257, 65_537, 300_001];

/** `exact` computes a row of the output from the rows of the inputs. */
export function axisCases(
  kernel: Kernel<AxisParams>,
  inputs: string[],
  result: string,
  exact: (rows: Record<string, number[]>) => number[],
): Case[] {
  const make = (shape: number[], more: Partial<Case> = {}, half = false): Case => {
    const [outer, columns, inner] = shape, size = outer * columns * inner;
    const values = Object.fromEntries(inputs.map((name, i) => {
      const numbers = random(size, 2, i + 1);
      return [name, half ? Float16Array.from(numbers) : numbers];
    }));
    return {
      kernel,
      name: `${half ? "f16 " : ""}${outer} x ${columns} x ${inner}`,
      bindings: { ...values, [result]: half ? new Float16Array(size) : output(size) },
      params: { outer, columns, inner },
      tolerance: half ? 2e-3 : 2e-5,
      exact: () => {
        const whole = new Float64Array(size);
        for (let row = 0; row < outer * inner && columns > 0; row++) {
          const at = (c: number) => (Math.floor(row / inner) * columns + c) * inner + row % inner;
          const rows = Object.fromEntries(inputs.map((name) => [
            name,
            Array.from({ length: columns }, (_, c) => Number(values[name][at(c)])),
          ]));
          exact(rows).forEach((value, c) => whole[at(c)] = value);
        }
        return { [result]: whole };
      },
      ...more,
    };
  };
  return [
    ...SHAPES.map((shape) => make(shape)),
    make([300, 12, 1], { name: "over the binding limit", limit: 4096 }),
    make([96, 5, 4], { name: "over the binding limit, inner axis", limit: 4096 }),
    ...[...LONG.map((columns) => [2, columns, 1]), [1, 50_304, 1], [1, 65_537, 2]].map((shape) =>
      make(shape, { long: true, exact: undefined, tolerance: 1e-3 })
    ),
    make([3, 12, 1], {}, true),
    make([3, 13, 2], {}, true),
  ];
}
